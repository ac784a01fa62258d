"""The tiles of a slide as files in one tar, from its finished tile store."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from st1k4m.run.outputs import atomic
from st1k4m.tiles import archives
from st1k4m.tiles.store import TileStore


def pack_tiles(
    tiles: str | Path, out: str | Path, *, slide: str, layout: str, threads: int = 1
) -> None:
    """Write every tile of a store as a PNG into a tar.

    Parameters
    ----------
    tiles
        The tile store.
    out
        Where to write the tar.
    slide
        Name of the slide.
    layout
        ``webdataset``: a PNG and a JSON a tile; ``png``: PNG files alone.
    threads
        Cores that encode.

    Raises
    ------
    SlideError
        An id cannot be a file name in the archive.
    """
    store = TileStore(tiles)
    archives.check_names(slide, store.barcodes)
    with atomic(out) as whole:
        archives.write_tiles(whole, layout, _samples(store), threads)


def _samples(store: TileStore) -> Iterator[tuple[str, np.ndarray, dict]]:
    """Give id, tile and description of every tile; what is not known is null."""
    with h5py.File(store.path) as file:
        inside, tissue = file["inside"][:], file["tissue"][:]
        names = ("patch_size_src", "patch_size_target", "downsample", "pixel_size", "name")
        common = {name: _plain(file.attrs[name]) for name in names}
    for row, (spot, (left, top)) in enumerate(zip(store.barcodes, store.coords, strict=True)):
        yield (
            spot,
            store[row],
            {
                "spot": spot,
                "coords": [int(left), int(top)],
                "inside": float(inside[row]),
                "tissue": _plain(tissue[row]),
                **common,
            },
        )


def _plain(value: str | np.generic) -> str | float | None:
    """Return a value as JSON has it; NaN stands for what is not known."""
    if isinstance(value, str):
        return value
    return None if np.isnan(value) else value.item()
