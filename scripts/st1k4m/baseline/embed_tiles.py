"""Turn the tiles of one slide into features with one encoder.

The tiles are read ahead in a thread of its own while the encoder works on those before, so a model
waits for the disk only where the disk is the slower of the two.
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

#: A tile's extent may differ so much, as a factor, from the one an encoder expects.
EXTENT_TOLERANCE = 1.1
#: Bytes of tiles that are read at once at most.
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
        Of the step.
    threads
        Cores to use on a CPU. The features are the same within float tolerance on any number.
    made
        What the features are made from; they carry that.

    Raises
    ------
    SlideError
        The store holds no tiles, or not as many as barcodes.
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
                f"{tiles} holds no tiles",
                "features need them: set tiles: {format: hdf5} and run again",
            )
        if len(image) != len(barcode):
            raise SlideError(
                slide,
                f"{tiles} holds {len(image)} tiles and {len(barcode)} barcodes",
                "remove the store and run again: cut_tiles makes it",
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
    """Read the tiles of a store in order, each batch while the one before is worked on.

    Parameters
    ----------
    image
        ``(n, h, w, 3)`` uint8.
    batch
        Tiles a batch; fewer where they are so large that two would not fit in `READ_BYTES`.

    Yields
    ------
    numpy.ndarray
        ``(batch, h, w, 3)`` uint8; the last one may be shorter.
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
    """Return a sentence if the tiles show another extent than the encoder expects.

    Parameters
    ----------
    encoder
        Tells its side in pixels and its scale.
    extent
        What a tile shows, micrometres; NaN where unknown.

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
