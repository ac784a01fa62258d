"""Take the fingerprint of a slide from its AnnData: pictures, spots, genes. Decodes no image."""

import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import h5py
import numpy as np
from scipy.spatial import cKDTree

from st1k4m.collection.fingerprint import PICTURE, Fingerprint, write_fingerprint
from st1k4m.run.provenance import Made
from st1k4m.technologies import TECHNOLOGIES

log = logging.getLogger(__name__)

#: So many spots are enough; of slides with more, those with the smallest hashes are taken, so that
#: two slides take the same ones.
MOST_SPOTS = 16384
#: A spot is compared with so many of its nearest, as many as a hexagonal lattice has around it.
NEIGHBOURS = 6
#: The frame is the box that holds all spots but this share at each side: a box that hardly moves
#: when many spots are missing.
OUTER = 0.02
#: A frame with a side of fewer pixels of the stored picture shows nothing.
SMALLEST_FRAME = 32

#: Columns of the spots: total counts, and number of genes.
QC = ("total_counts", "n_genes_by_counts")
#: What identifies a spot, whatever was put before it and behind it.
_BARCODE = re.compile("|".join(row.bare_id for row in TECHNOLOGIES.values()))


def fingerprint_slide(
    anndata: str | Path, out: str | Path, *, slide: str, made: Made | None = None
) -> None:
    """Write the fingerprint of a slide.

    Parameters
    ----------
    anndata
        ``results/anndata/{slide}.h5ad``. Its matrices are not read.
    out
        Where to write, ``work/fingerprints/{slide}.npz``.
    slide
        Name of the slide.
    made
        What the fingerprint is made from, which it then carries.
    """
    # Imported here: it takes a second, and only this function of the room needs it.
    from anndata.io import read_elem

    with h5py.File(anndata) as file:
        # Column by column: the others of a VisiumHD slide are hundreds of megabytes.
        barcodes = np.asarray(read_elem(file["obs/barcode"])).astype(str)
        totals, detected = (read_elem(file[f"obs/{name}"]) for name in QC)
        genes = np.asarray(read_elem(file["var/name"])).astype(str)
        found = read_elem(file["var/n_cells_by_counts"])
        points = np.asarray(file["obsm/spatial"][()], dtype=float)
        size = read_elem(file["uns/st1k4m/geometry"])
        hires = file[f"uns/spatial/{slide}/images/hires"][()]
    fingerprint = make_fingerprint(
        slide,
        barcodes=barcodes.tolist(),
        totals=totals,
        detected=detected,
        points=points,
        width=float(size["width"]),
        height=float(size["height"]),
        picture=hires,
    )
    write_fingerprint(out, fingerprint, genes.tolist(), found, made)
    log.info("%d of %d spots, %d genes", len(fingerprint.keys), fingerprint.spots, len(genes))


def make_fingerprint(
    slide: str,
    *,
    barcodes: Sequence[str],
    totals: np.ndarray,
    detected: np.ndarray,
    points: np.ndarray,
    width: float,
    height: float,
    picture: np.ndarray,
) -> Fingerprint:
    """Make the fingerprint of a slide.

    Parameters
    ----------
    slide
        Name of the slide.
    barcodes
        Of the kept spots.
    totals, detected
        Total counts, and number of genes with counts, of each; (spots,).
    points
        Centres (x, y) in pixels of the image, (spots, 2).
    width, height
        Of the image in pixels.
    picture
        The image shrunk to any size, (h, w, 3) uint8 RGB.
    """
    keys = hash_barcodes(barcodes)
    chosen = np.argsort(keys, kind="stable")[:MOST_SPOTS]
    totals = np.asarray(totals, dtype=np.int64)
    places = np.asarray(points, dtype=float) / [width, height]
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    return Fingerprint(
        slide=slide,
        spots=len(keys),
        keys=keys[chosen],
        totals=totals[chosen],
        detected=np.asarray(detected, dtype=np.int64)[chosen],
        residuals=residuals(np.asarray(points, dtype=float), totals, chosen),
        places=places[chosen].astype(np.float32),
        whole=_square(grey),
        frame=_square(crop_frame(grey, places)),
    )


def hash_barcodes(barcodes: Sequence[str]) -> np.ndarray:
    """Hash barcodes without what is put before and behind them, (n,) uint64."""
    return np.array([_hash(bare_barcode(barcode)) for barcode in barcodes], dtype=np.uint64)


def bare_barcode(barcode: str) -> str:
    """Take what identifies a spot out of its id; the whole id where it has no known form.

    >>> bare_barcode("sampleA_ACGTACGTACGTACGT-1"), bare_barcode("rep2_10x13")
    ('ACGTACGTACGTACGT', '10x13')
    """
    match = _BARCODE.search(barcode)
    if not match:
        return barcode
    return next(group for group in match.groups() if group).replace("uu_", "um_")


def residuals(points: np.ndarray, totals: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Say how far the log of each chosen spot's counts is from the mean of its neighbours'.

    What is left is a spot's own: sections of the same tissue share the trend, but not this.

    Parameters
    ----------
    points
        Centres of all spots, (spots, 2).
    totals
        Their total counts, (spots,).
    chosen
        Indices of the spots to look at, (n,).

    Returns
    -------
    ndarray
        (n,) float32; 0 where there are no neighbours.
    """
    logs = np.log1p(totals.astype(float))
    neighbours = min(NEIGHBOURS, len(points) - 1)
    if neighbours < 1:
        return np.zeros(len(chosen), np.float32)
    _, nearest = cKDTree(points).query(points[chosen], k=neighbours + 1)
    # The spot itself is mostly the first, but not where two have one place.
    other = nearest != chosen[:, None]
    mean = (logs[nearest] * other).sum(axis=1) / np.maximum(other.sum(axis=1), 1)
    return (logs[chosen] - mean).astype(np.float32)


def crop_frame(grey: np.ndarray, places: np.ndarray) -> np.ndarray | None:
    """Cut the part of a picture where the spots are; None where that is too few pixels.

    ``places`` are (x, y) as shares of width and height.
    """
    if len(places) < 3:
        return None
    height, width = grey.shape
    low, high = np.quantile(places, [OUTER, 1 - OUTER], axis=0)
    left, top = np.maximum(np.round(low * [width, height]), 0).astype(int)
    right, bottom = np.minimum(np.round(high * [width, height]), [width, height]).astype(int)
    if right - left < SMALLEST_FRAME or bottom - top < SMALLEST_FRAME:
        return None
    return grey[top:bottom, left:right]


def _square(grey: np.ndarray | None) -> np.ndarray:
    if grey is None:
        return np.zeros((PICTURE, PICTURE), np.uint8)
    # The mean over areas, in steps of floats: a picture at another size gives nearly the same.
    small = cv2.resize(grey, (PICTURE, PICTURE), interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
