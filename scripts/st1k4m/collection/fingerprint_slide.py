"""Make the fingerprint of a slide from its AnnData: pictures, spots, genes.

The image is not decoded: the AnnData has a reduced picture.
"""

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
from st1k4m.formats import slide_anndata
from st1k4m.run.provenance import Made
from st1k4m.technologies import TECHNOLOGIES

log = logging.getLogger(__name__)

#: Largest number of spots that are stored. If a slide has more, those with the smallest hashes are
#: taken. Two slides of one section then have the same spots.
MOST_SPOTS = 16384
#: Number of nearest spots that a spot is compared with: the neighbours in a hexagonal lattice.
NEIGHBOURS = 6
#: The frame is a box around the spots. This share of them lies outside at each side: such a box
#: hardly moves if many spots are missing.
OUTER = 0.02
#: Shortest side of a frame, in pixels of the picture in the AnnData. A smaller one is not used.
SMALLEST_FRAME = 32

#: Columns of the spots: total counts, and number of genes.
QC = (slide_anndata.TOTAL_COUNTS, slide_anndata.GENES)
#: The part of an id that identifies a spot, with any prefix and suffix around it.
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
        What the fingerprint is made from; it is stored in the file.
    """
    with h5py.File(anndata) as file:
        # Column by column: the others of a VisiumHD slide are hundreds of megabytes.
        barcodes = slide_anndata.read_barcodes(file)
        totals, detected = (slide_anndata.read_column(file, name) for name in QC)
        genes = slide_anndata.read_printed(file)
        found = slide_anndata.read_gene_column(file, slide_anndata.SPOTS)
        points = slide_anndata.read_centres(file)
        width, height = slide_anndata.read_image_size(file)
        hires = slide_anndata.read_hires(file, slide)
    fingerprint = make_fingerprint(
        slide,
        barcodes=barcodes.tolist(),
        totals=totals,
        detected=detected,
        points=points,
        width=width,
        height=height,
        picture=hires,
    )
    write_fingerprint(out, fingerprint, genes, found, made)
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
        Barcodes of the kept spots.
    totals, detected
        Total counts of each spot, and number of genes with counts, (spots,).
    points
        Centres (x, y) in pixels of the image, (spots, 2).
    width, height
        Size of the image in pixels.
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
    """Return the hash of each barcode without prefix and suffix, (n,) uint64."""
    return np.array([_hash(bare_barcode(barcode)) for barcode in barcodes], dtype=np.uint64)


def bare_barcode(barcode: str) -> str:
    """Return the part of an id that identifies a spot; the whole id if its form is unknown.

    >>> bare_barcode("sampleA_ACGTACGTACGTACGT-1"), bare_barcode("rep2_10x13")
    ('ACGTACGTACGTACGT', '10x13')
    """
    match = _BARCODE.search(barcode)
    if not match:
        return barcode
    return next(group for group in match.groups() if group).replace("uu_", "um_")


def residuals(points: np.ndarray, totals: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Compute the log counts of each chosen spot minus the mean of its neighbours.

    Sections of the same tissue share the trend over the tissue, but not these residuals.

    Parameters
    ----------
    points
        Centres of all spots, (spots, 2).
    totals
        Their total counts, (spots,).
    chosen
        Indices of the chosen spots, (n,).

    Returns
    -------
    ndarray
        (n,) float32; 0 if there are no neighbours.
    """
    logs = np.log1p(totals.astype(float))
    neighbours = min(NEIGHBOURS, len(points) - 1)
    if neighbours < 1:
        return np.zeros(len(chosen), np.float32)
    _, nearest = cKDTree(points).query(points[chosen], k=neighbours + 1)
    # Usually the first is the spot itself, but not if two spots have the same position.
    other = nearest != chosen[:, None]
    mean = (logs[nearest] * other).sum(axis=1) / np.maximum(other.sum(axis=1), 1)
    return (logs[chosen] - mean).astype(np.float32)


def crop_frame(grey: np.ndarray, places: np.ndarray) -> np.ndarray | None:
    """Cut the part of a picture with the spots, (h, w) uint8; None if it has too few pixels.

    ``places`` are (x, y) as fractions of width and height, (spots, 2).
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
    # Averaging over areas gives nearly the same result for a picture of another size.
    small = cv2.resize(grey, (PICTURE, PICTURE), interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
