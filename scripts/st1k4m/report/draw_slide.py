"""What the report shows of one slide, made in the slide's own chain: pictures and numbers.

The numbers are a JavaScript file, for a page opened from disk may load scripts but no data. Its
first line is the slide's card in the gallery, its second the slide's own page.
"""

import json
from pathlib import Path

import h5py
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from st1k4m import codes
from st1k4m.formats.texts import read_index, read_texts
from st1k4m.geometry.correction import Correction
from st1k4m.image import shrink
from st1k4m.report import build_report, drawing
from st1k4m.report.marks import (
    NUMBERS,
    Number,
    Spots,
    is_square,
    join_spots,
    make_marks,
    thin_dropped,
)
from st1k4m.run.provenance import KEY, Made

OVERLAY, TISSUE, THUMBNAIL = 2000, 1200, 360  # longest sides in pixels
MOST_GENES = 128  # variable genes that can be painted
SHEET_TILES, SHEET_COLUMNS, SHEET_SIDE = 24, 6, 112
HISTOGRAM_BINS = 40
CHUNK = 1 << 22  # stored values read at once


def draw_slide(
    anndata: str | Path,
    tiles: str | Path,
    ledger: str | Path,
    record: str | Path,
    *,
    overlay: str | Path,
    tissue: str | Path,
    thumbnail: str | Path,
    sheet: str | Path,
    page: str | Path,
    made: Made | None = None,
) -> None:
    """Draw a slide's pictures and write the data of its page.

    Parameters
    ----------
    anndata, tiles, ledger, record
        The slide's products.
    overlay
        Where to write the picture of the spots on the tissue, longest side at most 2000 (JPEG).
    tissue
        Likewise without spots, at most 1200 pixels: the page paints on it.
    thumbnail
        Likewise with spots, at most 360 pixels.
    sheet
        Where to write a sheet of sample tiles (JPEG).
    page
        Where to write card and data (JavaScript).
    made
        What the pictures are made from; they carry that, and the card its digest.
    """
    facts = json.loads(Path(record).read_text(encoding="utf-8"))
    dropped = read_dropped(ledger)
    with h5py.File(tiles) as store:
        hires = store["pictures/hires"][:]
        samples, shown = sample_tiles(store, hires, hires.shape[1] / facts["geometry"]["width"])
    with h5py.File(anndata) as file:
        spots = read_spots(file)
        group, side = join_spots(spots)
        genes = read_genes(file, group)
    drawing.write_jpeg(overlay, draw_beside(hires, facts, spots.centres, dropped), made=made)
    drawing.write_jpeg(tissue, shrink.shrink(hires, TISSUE), quality=78, made=made)
    thumb = draw_thumbnail(hires, facts, spots.centres, dropped)
    drawing.write_jpeg(thumbnail, thumb, made=made)
    drawing.write_jpeg(sheet, drawing.make_sheet(samples, SHEET_SIDE, SHEET_COLUMNS), made=made)

    card = make_card(facts, spots, thumb.shape)
    if made:
        card["made"] = made.digest
    data = {key: value for key, value in facts.items() if key != KEY} | {
        "dropped": thin_dropped(dropped, facts),
        "histograms": [make_histogram(number, spots, facts) for number in NUMBERS],
        "marks": make_marks(spots, group, side, genes, facts),
        "sheet": {"tiles": shown, "columns": SHEET_COLUMNS},
    }
    build_report.write_page(page, card, data)


def read_dropped(ledger: str | Path) -> np.ndarray:
    """Read x, y (m, 2) of the spots that have coordinates but are not in the AnnData."""
    with open(ledger, "rb") as file:
        account = pq.ParquetFile(file).read(["x", "y", "in_coord", "status"])
    gone = pc.and_(account["in_coord"], pc.equal(account["status"], codes.DROPPED))
    gone = account.filter(gone)
    return np.stack([gone["x"].to_numpy(), gone["y"].to_numpy()], axis=1)


def read_spots(file: h5py.File) -> Spots:
    """Read the spots of an open AnnData file."""
    obs = file["obs"]
    labels = None
    if "annotation" in obs:
        label_of = obs["annotation/codes"][:].astype(np.int64)
        labels = label_of, read_texts(obs["annotation/categories"]).tolist()
    return Spots(
        names=read_texts(obs["barcode"]).tolist(),
        centres=file["obsm/spatial"][:],
        places=np.stack([obs["array_row"][:], obs["array_col"][:]], axis=1).astype(np.int64),
        numbers={number.column: obs[number.column][:].astype(np.float64) for number in NUMBERS},
        labels=labels,
    )


def read_genes(file: h5py.File, group: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Read the most variable genes' X, averaged over the spots of each mark.

    The matrix is read in pieces, so that memory does not grow with it.

    Returns
    -------
    list of str
        Names by rank, at most ``MOST_GENES``.
    numpy.ndarray
        float64 (genes, marks).
    """
    var = file["var"]
    rank = var["highly_variable_rank"][:]
    chosen = np.argsort(rank, kind="stable")[: min(MOST_GENES, int(np.isfinite(rank).sum()))]
    names = read_index(var)[chosen].tolist()
    row_of = np.full(len(rank), -1)
    row_of[chosen] = np.arange(len(chosen))
    marks = int(group.max(initial=-1)) + 1
    sums = np.zeros(len(chosen) * marks)
    starts = file["X/indptr"][:]
    for first in range(0, int(starts[-1]), CHUNK):
        here = slice(first, min(first + CHUNK, int(starts[-1])))
        gene = row_of[file["X/indices"][here]]
        wanted = np.flatnonzero(gene >= 0)
        spot = np.searchsorted(starts, wanted + first, side="right") - 1
        cell = gene[wanted] * marks + group[spot]
        sums += np.bincount(cell, file["X/data"][here][wanted], minlength=len(sums))
    members = np.bincount(group, minlength=marks)
    return names, sums.reshape(len(chosen), marks) / members


def sample_tiles(
    store: h5py.File, hires: np.ndarray, scale: float
) -> tuple[list[np.ndarray], list[int]]:
    """Take tiles from all over the store: from its pixels, or where it has none, from ``hires``.

    Returns
    -------
    list of numpy.ndarray
        At most ``SHEET_TILES`` tiles.
    list of int
        Their rows in the store.
    """
    count = len(store["coords"])
    rows = np.unique(np.linspace(0, count - 1, min(count, SHEET_TILES)).astype(int)).tolist()
    if "img" in store:
        return [store["img"][row] for row in rows], rows
    side = max(1, round(store.attrs["patch_size_src"] * scale))
    corners = np.clip(store["coords"][:][rows] * scale, 0, None).astype(int)
    limits = np.array(hires.shape[1::-1]) - side
    corners = np.clip(corners, 0, limits.clip(0))
    return [hires[top : top + side, left : left + side] for left, top in corners], rows


def draw_overlay(
    hires: np.ndarray, facts: dict, centres: np.ndarray, dropped: np.ndarray
) -> np.ndarray:
    """Draw the spots on the tissue, as they are cut, with a bar of the scale."""
    geometry = facts["geometry"]
    scale = hires.shape[1] / geometry["width"]
    drawn = drawing.draw_spots(
        hires,
        centres * scale,
        geometry["radius"] * scale,
        square=is_square(facts),
        dropped=dropped * scale,
    )
    if geometry["um_per_px"]:
        drawing.draw_scale(drawn, geometry["um_per_px"] / scale)
    return drawn


def draw_beside(
    hires: np.ndarray, facts: dict, centres: np.ndarray, dropped: np.ndarray
) -> np.ndarray:
    """Draw the overlay; where another placement fits the tissue better, that one at its right."""
    as_is = draw_overlay(hires, facts, centres, dropped)
    believed = (facts.get("placement") or {}).get("believed")
    if not believed:
        return as_is
    geometry = facts["geometry"]
    correction = Correction(**{name: believed[name] for name in believed if name != "correction"})
    moved = correction.apply(*centres.T, (geometry["width"], geometry["height"]))
    scaled = geometry | {"radius": geometry["radius"] * correction.scale}
    rival = draw_overlay(
        hires, facts | {"geometry": scaled}, np.stack(moved, axis=1), np.empty((0, 2))
    )
    panels = [
        drawing.write_title(picture, title)
        for picture, title in ((as_is, "as it is"), (rival, believed["correction"]))
    ]
    return shrink.shrink(np.concatenate(panels, axis=1), OVERLAY)


def draw_thumbnail(
    hires: np.ndarray, facts: dict, centres: np.ndarray, dropped: np.ndarray
) -> np.ndarray:
    """Draw the spots on a small picture of the tissue."""
    small = shrink.shrink(hires, THUMBNAIL)
    scale = small.shape[1] / facts["geometry"]["width"]
    return drawing.draw_spots(
        small,
        centres * scale,
        facts["geometry"]["radius"] * scale,
        square=is_square(facts),
        dropped=dropped * scale,
        strength=0.8,
    )


def make_card(facts: dict, spots: Spots, picture: tuple[int, ...]) -> dict:
    """Sum a slide up for the gallery; a number that is not known is None."""
    return {
        "slide": facts["slide"],
        "spots": facts["spots"]["kept"],
        "dropped": sum(facts["spots"]["dropped"].values()),
        "genes": facts["expression"]["genes"],
        "um_per_px": facts["geometry"]["um_per_px"],
        "tier": facts["geometry"]["tier"],
        "flags": facts["flags"],
        "placement": make_placement(facts),
        "medians": {number.column: median(spots.numbers[number.column]) for number in NUMBERS},
        "picture": [picture[1], picture[0]],
    }


def make_placement(facts: dict) -> dict | None:
    """Sum up how the spots lie on the tissue; None where the record does not say."""
    found = facts.get("placement")
    if not found:
        return None
    return {
        "verdict": found["verdict"],
        "on_tissue": found["on_tissue"],
        "believed": found["believed"] and found["believed"]["correction"],
    }


def median(values: np.ndarray) -> float | None:
    """Return the median of the values that are known, to four digits; None if none is."""
    values = values[np.isfinite(values)]
    return float(f"{np.median(values):.4g}") if len(values) else None


def make_histogram(number: Number, spots: Spots, facts: dict) -> dict:
    """Count spots by a number. Where it spans decades, zeros are counted apart from the bins."""
    section, key = number.option
    values = spots.numbers[number.column]
    known = values[np.isfinite(values)]
    shown = known[known > 0] if number.log else known
    axis = np.log10(shown) if number.log else shown
    low, high = (float(axis.min()), float(axis.max())) if len(axis) else (0.0, 1.0)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    counts, _ = np.histogram(axis, HISTOGRAM_BINS, (low, high))
    return {
        "column": number.column,
        "label": number.label,
        "log": number.log,
        "low": round(low, 4),
        "high": round(high, 4),
        "counts": counts.tolist(),
        "zeros": int((known == 0).sum()) if number.log else 0,
        "unknown": int(len(values) - len(known)),
        "median": median(values),
        "option": f"{section}.{key}",
        "threshold": facts["parameters"][section][key],
    }
