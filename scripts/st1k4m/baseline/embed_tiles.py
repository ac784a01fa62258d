"""Compute the features of one slide's tiles with one encoder.

A separate thread reads the next batch of tiles while the encoder works on the previous batch. So
the encoder waits for the disk only if the disk is slower than the encoder.
"""

import hashlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np

from st1k4m.baseline.encoders import Encoder, load_encoder
from st1k4m.errors import SlideError
from st1k4m.formats.features import Features, write_features
from st1k4m.formats.tile_store import open_tiles, read_places
from st1k4m.run.provenance import Made

log = logging.getLogger(__name__)

#: Factor by which a tile's extent may differ from the extent that an encoder expects.
EXTENT_TOLERANCE = 1.1
#: Largest number of bytes of one batch of tiles.
READ_BYTES = 64 * 2**20


def embed_tiles(
    tiles: str | Path,
    out: str | Path,
    *,
    slide: str,
    encoder: str,
    revision: int = 1,
    threads: int = 1,
    made: Made | None = None,
) -> None:
    """Write the features of a slide's tiles.

    Parameters
    ----------
    tiles
        The tile store of the slide.
    out
        The features, in the store's order, with the encoder, the sha256 of its weights and its
        transform; see `st1k4m.formats.features`.
    slide
        Name of the slide.
    encoder
        Name of the encoder; see `load_encoder`.
    revision
        Revision of the step.
    threads
        Cores to use on a CPU. With another number the features are equal within float tolerance.
    made
        What the features are made from; stored with them.

    Raises
    ------
    SlideError
        The store has no tiles, or its numbers of tiles and barcodes differ.
    ConfigError
        The encoder cannot be loaded.
    """
    loaded = load_encoder(encoder)
    _use_cores(encoder, threads)
    digest = hashlib.sha256()
    places = read_places(tiles)
    barcode = places.barcodes.tolist()
    with open_tiles(tiles) as image:
        if image is None:
            raise SlideError(
                slide,
                f"{tiles} has no tiles, but features are computed from tiles",
                "set tiles: {format: hdf5} and run again",
            )
        if len(image) != len(barcode):
            raise SlideError(
                slide,
                f"{tiles} has {len(image)} tiles, but {len(barcode)} barcodes",
                "remove the store and run again: cut_tiles makes it again",
            )
        mismatch = find_mismatch(loaded, places.side * places.um_per_px)
        if mismatch:
            log.warning("%s", mismatch)
        found = [_check(loaded, batch, digest) for batch in read_ahead(image, loaded.batch)]
    features = np.concatenate(found) if found else np.empty((0, 0), np.float32)
    embedded = Features(
        slide,
        features,
        barcode,
        encoder=encoder,
        weights=loaded.weights,
        transform=loaded.transform,
        mismatch=mismatch,
        tiles=digest.hexdigest(),
        revision=str(revision),
    )
    write_features(out, embedded, made)
    log.info("%d tiles, %d features each, by %s", *features.shape, encoder)


def read_ahead(image: h5py.Dataset, batch: int) -> Iterator[np.ndarray]:
    """Read the tiles of a store in order; read each batch while the caller uses the previous one.

    Parameters
    ----------
    image
        ``(n, h, w, 3)`` uint8.
    batch
        Tiles per batch; fewer if a batch would be larger than `READ_BYTES`.

    Yields
    ------
    numpy.ndarray
        ``(batch, h, w, 3)`` uint8; the last batch may be shorter.
    """
    if not len(image):
        return
    batch = max(1, min(batch, READ_BYTES // max(1, image[0].nbytes)))
    starts = range(0, len(image), batch)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(image.__getitem__, slice(0, batch))
        for start in starts:
            ready = pending.result()
            if start + batch < len(image):
                pending = pool.submit(image.__getitem__, slice(start + batch, start + 2 * batch))
            yield ready


def find_mismatch(encoder: Encoder, extent: float) -> str:
    """Return a sentence if the extent of the tiles differs from the extent the encoder expects.

    Parameters
    ----------
    encoder
        Its ``side`` and ``um_per_px`` are used.
    extent
        Side of the square that a tile shows, micrometres; NaN if unknown.

    Returns
    -------
    str
        Empty if they agree within `EXTENT_TOLERANCE`, or if the encoder's extent is not known.
    """
    if encoder.um_per_px is None or encoder.side is None:
        return ""
    expected = encoder.side * encoder.um_per_px
    advice = f"set tiles: {{extent: {expected:g}um, size: {encoder.side}}}"
    if not np.isfinite(extent):
        return (
            f"{encoder.name} expects tiles of {expected:g} um, and the extent of these is "
            f"not known, because the slide has no micrometres per pixel; {advice}"
        )
    if 1 / EXTENT_TOLERANCE <= extent / expected <= EXTENT_TOLERANCE:
        return ""
    return (
        f"{encoder.name} expects tiles of {expected:g} um, and these show {extent:.4g} um; {advice}"
    )


def _use_cores(encoder: str, threads: int) -> None:
    import cv2

    cv2.setNumThreads(1)
    if encoder.startswith(("timm:", "hf:")):
        import torch

        torch.set_num_threads(threads)


def _check(encoder: Encoder, batch: np.ndarray, digest) -> np.ndarray:
    digest.update(np.ascontiguousarray(batch).data)
    return encoder.embed(batch)
