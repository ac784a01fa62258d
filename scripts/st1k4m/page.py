"""What the report shows of one slide, made in the slide's own chain: pictures and numbers.

The numbers are a JavaScript file, for a page opened from disk may load scripts but no data. Its
first line is the slide's card in the gallery, its second the slide's own page.
"""

import base64
import json
import logging
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from st1k4m import pictures, report

log = logging.getLogger(__name__)

THUMBNAIL, TISSUE = 360, 1200  # longest sides in pixels
MOST_MARKS = 15_000  # spots painted one by one; more are joined to squares of several
MOST_DROPPED = 2_000  # dropped spots painted; of more, every n-th
MOST_GENES = 128  # variable genes that can be painted
GENE_LEVELS, NUMBER_LEVELS, UNKNOWN = 31, 250, 255
SHEET_TILES, SHEET_COLUMNS, SHEET_SIDE = 24, 6, 112
HISTOGRAM_BINS = 40
CHUNK = 1 << 22  # stored values read at once


@dataclass(frozen=True)
class Number:
    """A number of every spot: its column in ``obs``, its name for people, whether it spans decades.

    ``option`` is the one that sets its threshold: section and key.
    """

    column: str
    label: str
    log: bool
    option: tuple[str, str]


NUMBERS = (
    Number("total_counts", "Counts per spot", True, ("expression", "min_counts")),
    Number("n_genes_by_counts", "Genes per spot", True, ("expression", "min_genes")),
    Number("pct_counts_mt", "Mitochondrial counts, %", False, ("expression", "max_pct_mito")),
    Number("tissue_share", "Share of tissue in the square", False, ("tiles", "tissue_threshold")),
)


@dataclass
class Spots:
    """The spots of an AnnData file.

    Attributes
    ----------
    names
        Bare barcodes.
    centres
        float64 (n, 2): x, y in pixels of the slide's image.
    places
        int64 (n, 2): row and column on the array, -1 where unknown.
    numbers
        float64 (n,) by column of ``obs``.
    labels
        Code of each spot's label (-1 for none) and the labels' names; None without annotation.
    """

    names: list[str]
    centres: np.ndarray
    places: np.ndarray
    numbers: dict[str, np.ndarray]
    labels: tuple[np.ndarray, list[str]] | None


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
    pictures.write_jpeg(overlay, draw_overlay(hires, facts, spots.centres, dropped))
    pictures.write_jpeg(tissue, pictures.shrink(hires, TISSUE), quality=78)
    thumb = draw_thumbnail(hires, facts, spots.centres, dropped)
    pictures.write_jpeg(thumbnail, thumb)
    pictures.write_jpeg(sheet, pictures.make_sheet(samples, SHEET_SIDE, SHEET_COLUMNS))

    card = make_card(facts, spots, thumb.shape)
    data = facts | {
        "dropped": thin_dropped(dropped, facts),
        "histograms": [make_histogram(number, spots, facts) for number in NUMBERS],
        "marks": make_marks(spots, group, side, genes, facts),
        "sheet": {"tiles": shown, "columns": SHEET_COLUMNS},
    }
    report.write_page(page, card, data)


def read_dropped(ledger: str | Path) -> np.ndarray:
    """Read x, y (m, 2) of the spots that have coordinates but are not in the AnnData."""
    with open(ledger, "rb") as file:
        account = pq.ParquetFile(file).read(["x", "y", "in_coord", "status"])
    gone = pc.and_(account["in_coord"], pc.equal(account["status"], "dropped"))
    gone = account.filter(gone)
    return np.stack([gone["x"].to_numpy(), gone["y"].to_numpy()], axis=1)


def read_spots(file: h5py.File) -> Spots:
    """Read the spots of an open AnnData file."""
    obs = file["obs"]
    labels = None
    if "annotation" in obs:
        codes = obs["annotation/codes"][:].astype(np.int64)
        labels = codes, obs["annotation/categories"].asstr()[:].tolist()
    return Spots(
        names=obs["barcode"].asstr()[:].tolist(),
        centres=file["obsm/spatial"][:],
        places=np.stack([obs["array_row"][:], obs["array_col"][:]], axis=1).astype(np.int64),
        numbers={number.column: obs[number.column][:].astype(np.float64) for number in NUMBERS},
        labels=labels,
    )


def join_spots(spots: Spots) -> tuple[np.ndarray, int]:
    """Say which spots share a mark on the page.

    Returns
    -------
    numpy.ndarray
        int64 (n,): the mark of each spot.
    int
        Spots along the side of a mark: 1 where every spot has its own, which holds up to
        ``MOST_MARKS`` spots and wherever array positions are unknown.
    """
    count = len(spots.names)
    if count <= MOST_MARKS or (spots.places < 0).any():
        return np.arange(count), 1
    side = math.ceil(math.sqrt(count / MOST_MARKS))
    while True:
        _, group = np.unique(spots.places // side, axis=0, return_inverse=True)
        if group.max() < MOST_MARKS:
            return group.ravel(), side
        side += 1


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
    names = var[var.attrs["_index"]].asstr()[:][chosen].tolist()
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
    drawn = pictures.draw_spots(
        hires,
        centres * scale,
        geometry["radius"] * scale,
        square=is_square(facts),
        dropped=dropped * scale,
    )
    if geometry["um_per_px"]:
        pictures.draw_scale(drawn, geometry["um_per_px"] / scale)
    return drawn


def draw_thumbnail(
    hires: np.ndarray, facts: dict, centres: np.ndarray, dropped: np.ndarray
) -> np.ndarray:
    """Draw the spots on a small picture of the tissue."""
    small = pictures.shrink(hires, THUMBNAIL)
    scale = small.shape[1] / facts["geometry"]["width"]
    return pictures.draw_spots(
        small,
        centres * scale,
        facts["geometry"]["radius"] * scale,
        square=is_square(facts),
        dropped=dropped * scale,
        strength=0.8,
    )


def is_square(facts: dict) -> bool:
    """Whether the slide's spots are square bins."""
    return facts["study"]["tech"] == "VisiumHD"


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
        "medians": {number.column: median(spots.numbers[number.column]) for number in NUMBERS},
        "picture": [picture[1], picture[0]],
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


def thin_dropped(dropped: np.ndarray, facts: dict) -> dict:
    """Pack the places of dropped spots; of very many, every n-th."""
    step = math.ceil(len(dropped) / MOST_DROPPED) or 1
    thinned = dropped[::step]
    return {"count": len(dropped), "every": step, "centres": pack_centres(thinned, facts)}


def make_marks(
    spots: Spots, group: np.ndarray, side: int, genes: tuple[list[str], np.ndarray], facts: dict
) -> dict:
    """Pack what the page paints: a mark per spot (or square of spots) and layers to colour it by.

    A layer is a row of bytes: the level of each mark between the layer's low and high, or
    ``UNKNOWN``. All rows are compressed as one.
    """
    marks = int(group.max(initial=-1)) + 1
    members = np.bincount(group, minlength=marks)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(group, values, minlength=marks) / members

    layers, rows = [], []
    for number in NUMBERS:
        values = mean(spots.numbers[number.column])
        layers.append({"name": number.column, "label": number.label, "kind": "number"})
        rows.append(levels(values, number.log, NUMBER_LEVELS, layers[-1]))
    if spots.labels:
        first = np.unique(group, return_index=True)[1]  # a joined mark shows its first spot's label
        codes = spots.labels[0][first]
        layers.append({"name": "annotation", "label": "Annotation", "kind": "label"})
        layers[-1]["labels"] = spots.labels[1]
        rows.append(np.where(codes < 0, UNKNOWN, codes).astype(np.uint8))
    for name, values in zip(*genes, strict=True):
        layers.append({"name": name, "label": name, "kind": "gene"})
        rows.append(levels(values, False, GENE_LEVELS, layers[-1]))
    centres = np.stack([mean(spots.centres[:, 0]), mean(spots.centres[:, 1])], axis=1)
    return {
        "count": marks,
        "side": side,
        "square": is_square(facts),
        "centres": pack_centres(centres, facts),
        "names": pack("\n".join(spots.names).encode()) if side == 1 else None,
        "layers": layers,
        "levels": pack(b"".join(row.tobytes() for row in rows)),
    }


def levels(values: np.ndarray, log: bool, steps: int, layer: dict) -> np.ndarray:
    """Return values as levels from 0 to ``steps`` (uint8) and note their scale in ``layer``."""
    axis = np.log10(1 + values) if log else values
    known = np.isfinite(axis)
    low = min(0.0, float(axis[known].min(initial=0.0)))
    high = float(axis[known].max(initial=low))
    layer |= {"log": log, "steps": steps, "low": round(low, 4), "high": round(high, 4)}
    scaled = np.zeros(len(axis)) if high == low else (axis - low) / (high - low) * steps
    return np.where(known, np.round(np.where(known, scaled, 0)), UNKNOWN).astype(np.uint8)


def pack_centres(centres: np.ndarray, facts: dict) -> str:
    """Pack places as all x, then all y: uint16, in 65535ths of the image's width and height.

    Places outside the image are moved to its edge.
    """
    size = np.array([facts["geometry"]["width"], facts["geometry"]["height"]])
    shares = np.clip(centres / size, 0, 1)
    return pack(np.round(shares.T * 65535).astype("<u2").tobytes())


def pack(data: bytes) -> str:
    """Compress bytes into text that a browser can unpack."""
    return base64.b64encode(zlib.compress(data, 6)).decode()
