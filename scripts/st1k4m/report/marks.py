"""Pack the spots of a slide as marks for the report's page to paint."""

import base64
import math
import zlib
from dataclasses import dataclass

import numpy as np

from st1k4m.formats.record import Record
from st1k4m.formats.slide_anndata import GENES, PCT_MITO, TISSUE_SHARE, TOTAL_COUNTS
from st1k4m.technologies import technology

MOST_MARKS = 15_000  # if a slide has more spots, several are joined to a square
MOST_DROPPED = 2_000  # if there are more dropped spots, every n-th is painted
GENE_LEVELS, NUMBER_LEVELS, UNKNOWN = 31, 250, 255


@dataclass(frozen=True)
class Number:
    """A number of every spot: its column in ``obs``, its label, whether its scale is logarithmic.

    ``option`` is the option that sets its threshold: section and key.
    """

    column: str
    label: str
    log: bool
    option: tuple[str, str]


NUMBERS = (
    Number(TOTAL_COUNTS, "Counts per spot", True, ("expression", "min_counts")),
    Number(GENES, "Genes per spot", True, ("expression", "min_genes")),
    Number(PCT_MITO, "Mitochondrial counts, %", False, ("expression", "max_pct_mito")),
    Number(TISSUE_SHARE, "Share of tissue in the square", False, ("tiles", "tissue_threshold")),
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


def is_square(record: Record) -> bool:
    """Return whether the slide's spots are square bins."""
    return technology(record.tech).binned


def thin_dropped(dropped: np.ndarray, record: Record) -> dict:
    """Pack the positions of at most `MOST_DROPPED` dropped spots: every n-th if there are more."""
    step = math.ceil(len(dropped) / MOST_DROPPED) or 1
    thinned = dropped[::step]
    return {"count": len(dropped), "every": step, "centres": pack_centres(thinned, record)}


def join_spots(spots: Spots) -> tuple[np.ndarray, int]:
    """Find which spots share a mark on the page.

    Returns
    -------
    numpy.ndarray
        int64 (n,): the mark of each spot.
    int
        Spots along the side of a mark. It is 1 (one spot per mark) with up to ``MOST_MARKS`` spots,
        or if array positions are unknown.
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


def make_marks(
    spots: Spots, group: np.ndarray, side: int, genes: tuple[list[str], np.ndarray], record: Record
) -> dict:
    """Pack the data that the page paints: one mark per spot or square of spots, and colour layers.

    A layer is a row of bytes: the level of each mark between the layer's low and high, or
    ``UNKNOWN``. All rows are compressed together.
    """
    marks = int(group.max(initial=-1)) + 1
    members = np.bincount(group, minlength=marks)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(group, values, minlength=marks) / members

    layers, rows = [], []
    for number in NUMBERS:
        values = mean(spots.numbers[number.column])
        row, scale = levels(values, number.log, NUMBER_LEVELS)
        layers.append({"name": number.column, "label": number.label, "kind": "number"} | scale)
        rows.append(row)
    if spots.labels:
        first = np.unique(group, return_index=True)[1]  # a square shows the label of its first spot
        label_of = spots.labels[0][first]
        layer = {"name": "annotation", "label": "Annotation", "kind": "label"}
        layers.append(layer | {"labels": spots.labels[1]})
        rows.append(np.where(label_of < 0, UNKNOWN, label_of).astype(np.uint8))
    for name, values in zip(*genes, strict=True):
        row, scale = levels(values, False, GENE_LEVELS)
        layers.append({"name": name, "label": name, "kind": "gene"} | scale)
        rows.append(row)
    centres = np.stack([mean(spots.centres[:, 0]), mean(spots.centres[:, 1])], axis=1)
    return {
        "count": marks,
        "side": side,
        "square": is_square(record),
        "centres": pack_centres(centres, record),
        "names": pack("\n".join(spots.names).encode()) if side == 1 else None,
        "layers": layers,
        "levels": pack(b"".join(row.tobytes() for row in rows)),
    }


def levels(values: np.ndarray, log: bool, steps: int) -> tuple[np.ndarray, dict]:
    """Return values as levels from 0 to ``steps`` (uint8), and their scale."""
    axis = np.log10(1 + values) if log else values
    known = np.isfinite(axis)
    low = min(0.0, float(axis[known].min(initial=0.0)))
    high = float(axis[known].max(initial=low))
    scale = {"log": log, "steps": steps, "low": round(low, 4), "high": round(high, 4)}
    scaled = np.zeros(len(axis)) if high == low else (axis - low) / (high - low) * steps
    rounded = np.round(np.where(known, scaled, 0))
    return np.where(known, rounded, UNKNOWN).astype(np.uint8), scale


def pack_centres(centres: np.ndarray, record: Record) -> str:
    """Pack positions: all x, then all y, as uint16, in 65535ths of the image's width and height.

    Positions outside the image are moved to its edge.
    """
    size = np.array(record.size)
    shares = np.clip(centres / size, 0, 1)
    return pack(np.round(shares.T * 65535).astype("<u2").tobytes())


def pack(data: bytes) -> str:
    """Compress bytes to text that a browser can unpack."""
    return base64.b64encode(zlib.compress(data, 6)).decode()
