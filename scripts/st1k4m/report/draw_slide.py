"""Draw the pictures of one slide for the report, and write the numbers of its page.

The numbers are a JavaScript file, because browsers let a page opened from disk load scripts but no
JSON. The first line is the slide's card in the gallery, the second the data of its own page.
"""

from pathlib import Path

import h5py
import numpy as np

from st1k4m.formats import slide_anndata
from st1k4m.formats.ledger import read_dropped
from st1k4m.formats.record import Record, read_record
from st1k4m.formats.slide_anndata import ARRAY_COL, ARRAY_ROW
from st1k4m.formats.tile_store import open_tiles, read_hires, read_places
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
from st1k4m.run.provenance import Made

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
        Where to write the picture of the spots on the tissue, at most 2000 pixels long (JPEG).
    tissue
        Where to write the tissue without spots, at most 1200 pixels long (JPEG); the page paints
        the spots on it.
    thumbnail
        Where to write the small picture with spots, at most 360 pixels long (JPEG).
    sheet
        Where to write a sheet of sample tiles (JPEG).
    page
        Where to write card and data (JavaScript).
    made
        What the pictures are made from; it is stored in them, and its digest in the card.
    """
    known = read_record(record)
    dropped = read_dropped(ledger)
    hires = read_hires(tiles)
    samples, shown = sample_tiles(tiles, hires, hires.shape[1] / known.size[0])
    with h5py.File(anndata) as file:
        spots = read_spots(file)
        group, side = join_spots(spots)
        genes = read_genes(file, group)
    drawing.write_jpeg(overlay, draw_beside(hires, known, spots.centres, dropped), made=made)
    drawing.write_jpeg(tissue, shrink.shrink(hires, TISSUE), quality=78, made=made)
    thumb = draw_thumbnail(hires, known, spots.centres, dropped)
    drawing.write_jpeg(thumbnail, thumb, made=made)
    drawing.write_jpeg(sheet, drawing.make_sheet(samples, SHEET_SIDE, SHEET_COLUMNS), made=made)

    card = make_card(known, spots, thumb.shape)
    if made:
        card["made"] = made.digest
    data = known.without_origins | {
        "dropped": thin_dropped(dropped, known),
        "histograms": [make_histogram(number, spots, known) for number in NUMBERS],
        "marks": make_marks(spots, group, side, genes, known),
        "sheet": {"tiles": shown, "columns": SHEET_COLUMNS},
    }
    build_report.write_page(page, card, data)


def read_spots(file: h5py.File) -> Spots:
    """Read the spots of an open AnnData file."""
    places = [slide_anndata.read_column(file, name) for name in (ARRAY_ROW, ARRAY_COL)]
    columns = {number.column for number in NUMBERS}
    return Spots(
        names=slide_anndata.read_barcodes(file).tolist(),
        centres=slide_anndata.read_centres(file),
        places=np.stack(places, axis=1).astype(np.int64),
        numbers={
            name: slide_anndata.read_column(file, name).astype(np.float64) for name in columns
        },
        labels=slide_anndata.read_labels(file),
    )


def read_genes(file: h5py.File, group: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Read the most variable genes' X, averaged over the spots of each mark.

    The matrix is read in pieces, so memory does not grow with its size.

    Returns
    -------
    list of str
        Names by rank, at most ``MOST_GENES``.
    numpy.ndarray
        float64 (genes, marks).
    """
    rank = slide_anndata.read_gene_column(file, slide_anndata.RANK)
    chosen = np.argsort(rank, kind="stable")[: min(MOST_GENES, int(np.isfinite(rank).sum()))]
    names = slide_anndata.read_genes(file)[chosen].tolist()
    row_of = np.full(len(rank), -1)
    row_of[chosen] = np.arange(len(chosen))
    marks = int(group.max(initial=-1)) + 1
    sums = np.zeros(len(chosen) * marks)
    x = slide_anndata.open_x(file)
    ends = x.read_ends()
    for first in range(0, int(ends[-1]), CHUNK):
        columns, values = x.read(first, min(first + CHUNK, int(ends[-1])))
        gene = row_of[columns]
        wanted = np.flatnonzero(gene >= 0)
        spot = np.searchsorted(ends, wanted + first, side="right") - 1
        cell = gene[wanted] * marks + group[spot]
        sums += np.bincount(cell, values[wanted], minlength=len(sums))
    members = np.bincount(group, minlength=marks)
    return names, sums.reshape(len(chosen), marks) / members


def sample_tiles(
    tiles: str | Path, hires: np.ndarray, scale: float
) -> tuple[list[np.ndarray], list[int]]:
    """Take tiles spread over the store, from its pixels or, if it has none, from ``hires``.

    Returns
    -------
    list of numpy.ndarray
        At most ``SHEET_TILES`` tiles, (h, w, 3) uint8.
    list of int
        Their rows in the store.
    """
    places = read_places(tiles)
    count = len(places)
    rows = np.unique(np.linspace(0, count - 1, min(count, SHEET_TILES)).astype(int)).tolist()
    with open_tiles(tiles) as img:
        if img is not None:
            return [img[row] for row in rows], rows
    side = max(1, round(places.side * scale))
    corners = np.clip(places.coords[rows] * scale, 0, None).astype(int)
    limits = np.array(hires.shape[1::-1]) - side
    corners = np.clip(corners, 0, limits.clip(0))
    return [hires[top : top + side, left : left + side] for left, top in corners], rows


def draw_overlay(
    hires: np.ndarray,
    record: Record,
    centres: np.ndarray,
    dropped: np.ndarray,
    enlarged: float = 1.0,
) -> np.ndarray:
    """Draw the spots on the tissue, as they are cut, with a scale bar.

    ``enlarged`` is a factor on their radius.
    """
    scale = hires.shape[1] / record.size[0]
    drawn = drawing.draw_spots(
        hires,
        centres * scale,
        record.radius * enlarged * scale,
        square=is_square(record),
        dropped=dropped * scale,
    )
    if record.um_per_px:
        drawing.draw_scale(drawn, record.um_per_px / scale)
    return drawn


def draw_beside(
    hires: np.ndarray, record: Record, centres: np.ndarray, dropped: np.ndarray
) -> np.ndarray:
    """Draw the overlay and, if another placement fits the tissue better, that one on its right."""
    as_is = draw_overlay(hires, record, centres, dropped)
    believed = (record.placement or {}).get("believed")
    if not believed:
        return as_is
    correction = Correction(**{name: believed[name] for name in believed if name != "correction"})
    moved = np.stack(correction.apply(*centres.T, record.size), axis=1)
    rival = draw_overlay(hires, record, moved, np.empty((0, 2)), correction.scale)
    panels = [
        drawing.write_title(picture, title)
        for picture, title in ((as_is, "as it is"), (rival, believed["correction"]))
    ]
    return shrink.shrink(np.concatenate(panels, axis=1), OVERLAY)


def draw_thumbnail(
    hires: np.ndarray, record: Record, centres: np.ndarray, dropped: np.ndarray
) -> np.ndarray:
    """Draw the spots on a small picture of the tissue."""
    small = shrink.shrink(hires, THUMBNAIL)
    scale = small.shape[1] / record.size[0]
    return drawing.draw_spots(
        small,
        centres * scale,
        record.radius * scale,
        square=is_square(record),
        dropped=dropped * scale,
        strength=0.8,
    )


def make_card(record: Record, spots: Spots, picture: tuple[int, ...]) -> dict:
    """Return the slide's card for the gallery; unknown numbers are None."""
    return {
        "slide": record.slide,
        "spots": record.spots.kept,
        "dropped": sum(record.spots.dropped.values()),
        "genes": record.genes,
        "um_per_px": record.um_per_px,
        "tier": record.tier,
        "flags": record.flags,
        "placement": make_placement(record),
        "medians": {number.column: median(spots.numbers[number.column]) for number in NUMBERS},
        "picture": [picture[1], picture[0]],
    }


def make_placement(record: Record) -> dict | None:
    """Return how the spots lie on the tissue; None if the record does not state it."""
    found = record.placement
    if not found:
        return None
    return {
        "verdict": found["verdict"],
        "on_tissue": found["on_tissue"],
        "believed": found["believed"] and found["believed"]["correction"],
    }


def median(values: np.ndarray) -> float | None:
    """Return the median of the finite values, to four digits; None if there are none."""
    values = values[np.isfinite(values)]
    return float(f"{np.median(values):.4g}") if len(values) else None


def make_histogram(number: Number, spots: Spots, record: Record) -> dict:
    """Count spots by a number, in bins. On a logarithmic scale, zeros are counted separately."""
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
        "threshold": record.parameters[section][key],
    }
