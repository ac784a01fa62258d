"""The fingerprint of a slide: a small file that identifies its section under another name."""

import hashlib
import io
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from st1k4m.run import outputs
from st1k4m.run.provenance import KEY, Made

#: Side in pixels of the stored pictures; all are squares, whatever the shape of the image.
PICTURE = 64


@dataclass(frozen=True)
class Fingerprint:
    """The data by which slides are compared.

    Attributes
    ----------
    slide
        Name of the slide.
    spots
        Number of kept spots.
    keys
        Hash of each sampled spot's barcode, without prefix and suffix, (n,) uint64, ascending.
    totals, detected
        Total counts of these spots, and the number of genes with counts, (n,) int64.
    residuals
        log1p of the total counts minus its mean over the nearest spots, (n,) float32.
    places
        (x, y) of the spots as fractions of the image's width and height, (n, 2) float32.
    whole
        The whole image in grey, (`PICTURE`, `PICTURE`) uint8.
    frame
        The part of the image with the spots, (`PICTURE`, `PICTURE`) uint8; all 0 if that part has
        too few pixels.
    """

    slide: str
    spots: int
    keys: np.ndarray
    totals: np.ndarray
    detected: np.ndarray
    residuals: np.ndarray
    places: np.ndarray
    whole: np.ndarray
    frame: np.ndarray


@dataclass(frozen=True)
class Genes:
    """The genes of a slide.

    ``names`` are as printed, or empty if the caller has the list already. ``digest`` identifies the
    list. ``spots`` (genes,) int64 is the number of kept spots in which each gene is found, out of
    ``looked_at`` spots.
    """

    names: list[str]
    digest: bytes
    spots: np.ndarray
    looked_at: int


def write_fingerprint(
    path: str | Path,
    fingerprint: Fingerprint,
    genes: list[str],
    found: np.ndarray,
    made: Made | None = None,
) -> None:
    """Write a fingerprint with the slide's genes. Equal values give equal bytes.

    Parameters
    ----------
    path
        Where to write, ``work/fingerprints/{slide}.npz``.
    fingerprint
        The fingerprint.
    genes
        Names of the genes as printed.
    found
        Number of spots in which each gene is found, (genes,).
    made
        What the fingerprint is made from; it is stored in the file.
    """
    names = "\0".join(genes).encode()
    file = io.BytesIO()
    np.savez_compressed(
        file,
        **{name: getattr(fingerprint, name) for name in Fingerprint.__dataclass_fields__},
        gene_names=np.frombuffer(names, np.uint8),
        gene_list=np.frombuffer(hashlib.blake2b(names, digest_size=16).digest(), np.uint8),
        gene_spots=np.asarray(found, np.uint32),
        **({KEY: made.text} if made else {}),
    )
    with outputs.atomic(path) as temporary:
        temporary.write_bytes(file.getvalue())


def read_fingerprint(path: str | Path) -> Fingerprint:
    """Read a file of `write_fingerprint`, without the genes."""
    with np.load(path) as file:
        values = {name: file[name] for name in Fingerprint.__dataclass_fields__}
    return Fingerprint(**values | {"slide": str(values["slide"]), "spots": int(values["spots"])})


def read_genes(path: str | Path, known: Container[bytes] = ()) -> Genes:
    """Read the genes from a fingerprint; their names only if the digest is not in ``known``."""
    with np.load(path) as file:
        digest = file["gene_list"].tobytes()
        text = "" if digest in known else file["gene_names"].tobytes().decode()
        spots = file["gene_spots"].astype(np.int64)
        names = text.split("\0") if text else []
        return Genes(names, digest, spots, int(file["spots"]))
