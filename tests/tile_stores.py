"""Tile stores of given tiles, as `cut_tiles` writes them."""

import numpy as np
from st1k4m.formats import tile_store
from st1k4m.formats.tile_store import Places


def write_store(
    path, tiles, barcodes, *, coords=None, side=None, um_per_px=0.5, slide="S", pictures=None
):
    """Write ``tiles`` (n, size, size, 3), cut from squares of ``side`` pixels (default: size)."""
    size = tiles.shape[1]
    coords = np.zeros((len(tiles), 2)) if coords is None else coords
    places = Places(
        slide,
        np.array(list(barcodes), object),
        np.asarray(coords).astype(np.int64),
        np.ones(len(tiles), np.float32),
        side or size,
        size,
        np.nan if um_per_px is None else um_per_px,
    )
    with tile_store.create(path, places, "none") as writer:
        writer.write(np.arange(len(tiles)), np.ascontiguousarray(tiles))
        writer.finish(np.ones(len(tiles), np.float32), pictures or {}, {}, {})
