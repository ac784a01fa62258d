"""Write the tiles of a slide as files in one tar, from its finished tile store."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from st1k4m.formats import tile_store
from st1k4m.formats.tile_store import TileStore, read_places, read_tissue
from st1k4m.run.outputs import atomic
from st1k4m.tiles import archives


def pack_tiles(
    tiles: str | Path, out: str | Path, *, slide: str, layout: str, threads: int = 1
) -> None:
    """Write every tile of a store as a PNG into a tar.

    Parameters
    ----------
    tiles
        The tile store.
    out
        The tar to write.
    slide
        Name of the slide.
    layout
        ``webdataset``: one PNG and one JSON file per tile; ``png``: one PNG file per tile.
    threads
        Number of threads that encode.

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
    """Yield id, tile and description of every tile; unknown values are null."""
    places, tissue = read_places(store.path), read_tissue(store.path)
    common = {name: _plain(value) for name, value in places.attributes.items()}
    for row, (spot, (left, top)) in enumerate(zip(store.barcodes, store.coords, strict=True)):
        yield (
            spot,
            store[row],
            {
                tile_store.SPOT: spot,
                tile_store.COORDS: [int(left), int(top)],
                tile_store.INSIDE: float(places.inside[row]),
                tile_store.TISSUE: _plain(tissue[row].item()),
                **common,
            },
        )


def _plain(value: str | float) -> str | float | None:
    """Return a value for JSON: None instead of NaN, which means unknown."""
    return None if isinstance(value, float) and math.isnan(value) else value
