"""Cut every spot's tile out of the slide image in one pass.

The image streams through a window of rows that is just tall enough for one square. A square is cut
when its last row has been read, and written at once to its row of the store. Rows of the store are
in the order of the AnnData, squares are cut in the order of the image. The same pass makes the
pictures of the AnnData.
"""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from st1k4m import codes
from st1k4m.formats import tile_store
from st1k4m.formats.slide_anndata import HIRES_SCALE, LOWRES_SCALE
from st1k4m.formats.spots import SpotTable, read_spots
from st1k4m.formats.tile_store import Places, TileWriter
from st1k4m.geometry.placement import examine
from st1k4m.image import decode
from st1k4m.image.shrink import Shrinker
from st1k4m.image.tissue_mask import tissue_mask
from st1k4m.run.provenance import Made
from st1k4m.tiles.options import TileOptions
from st1k4m.tiles.squares import Squares, place_squares, tissue_share
from st1k4m.tiles.window import Window

log = logging.getLogger(__name__)

HIRES, LOWRES = 2000, 600  # longest sides of the pictures, in pixels, as Space Ranger's


def cut_tiles(
    image: str | Path,
    spots: str | Path,
    kept: list[str],
    out: str | Path,
    *,
    slide: str,
    options: dict,
    threads: int = 1,
    made: Made | None = None,
) -> None:
    """Cut the tiles of a slide and write its tile store.

    Parameters
    ----------
    image
        Path of a PNG, JPEG or TIFF image; the format is read from the content, not the name.
    spots
        The spots file that ``align_spots`` wrote.
    kept
        Ids of the AnnData's spots, in its order. Spots outside the image get no tile.
    out
        The tile store to write, HDF5.
    slide
        Name of the slide.
    options
        The arguments of `TileOptions`.
    threads
        Number of threads.
    made
        What the store is made from; stored in it.

    Raises
    ------
    SlideError
        The image is broken, truncated or too large; or the slide has no micrometres per pixel, or
        is too coarse, for the requested extent and size.
    """
    chosen = TileOptions.of_section(options)
    cv2.setNumThreads(1)  # a tile is too small for threads; cutting and decoding overlap
    header = decode.read_header(image, slide=slide, max_pixels=chosen.max_pixels)
    extent = (header.width, header.height)
    table, facts = read_spots(spots)
    squares, dropped = place_squares(slide, table, facts, kept, *extent, chosen)
    places = Places(
        slide,
        squares.spots,
        np.stack([squares.left, squares.top], axis=1),
        squares.inside,
        squares.side,
        squares.size,
        facts["um_per_px"] or np.nan,
    )
    bands = decode.Bands(image, header, slide=slide, threads=threads)
    compression = chosen.compression if chosen.pixels else None

    with tile_store.create(
        out, places, compression, all_stay=not chosen.drop_off_tissue, made=made
    ) as writer:
        pictures = _stream(bands, squares, chosen, writer, threads)
        mask = tissue_mask(pictures[tile_store.LOWRES])
        tissue = tissue_share(mask, squares, *extent)
        placement, flags = examine(mask, extent, *_centres(table, kept), facts, slide)
        keep = None
        if chosen.drop_off_tissue:
            keep = ~(tissue < chosen.tissue_threshold)
            dropped |= dict.fromkeys(squares.spots[~keep].tolist(), codes.OFF_TISSUE)
            squares, tissue = squares.select(keep), tissue[keep]
        about = _facts(header, bands.transparent, squares, pictures, chosen.pixels, flags)
        about["placement"] = placement
        writer.finish(tissue, pictures, dropped, about, keep)
    log.info("cut %d tiles of %d px", len(squares), squares.size)


class _WriteBehind:
    """Writes tiles; with several threads, it writes a batch while the next one is cut."""

    def __init__(self, writer: TileWriter, threads: int) -> None:
        self._writer = writer
        self._pool = ThreadPoolExecutor(1) if threads > 1 else None
        self._pending: Future | None = None

    def __enter__(self) -> "_WriteBehind":
        return self

    def write(self, rows: np.ndarray, tiles: np.ndarray) -> None:
        if self._pool is None:
            self._writer.write(rows, tiles)
            return
        self._wait()
        self._pending = self._pool.submit(self._writer.write, rows, tiles)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        if error[0] is None:
            self._wait()


def _stream(
    bands: decode.Bands, squares: Squares, options: TileOptions, writer: TileWriter, threads: int
) -> dict[str, np.ndarray]:
    """Read the image once: write the tiles, and return the pictures."""
    header = bands.header
    shrinker = Shrinker(header.width, header.height, HIRES)
    window = Window(squares, header.width, header.height, options.fill)
    with _WriteBehind(writer, threads) as behind:
        for band in bands:
            if options.pixels:
                for rows, tiles in window.feed(band):
                    behind.write(rows, tiles)
            shrinker.feed(band)
    hires = shrinker.picture()
    lower = Shrinker(hires.shape[1], hires.shape[0], LOWRES)
    lower.feed(hires)
    return {tile_store.HIRES: hires, tile_store.LOWRES: lower.picture()}


def _centres(table: SpotTable, kept: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of the kept spots; only of those in tissue if the spots file states this."""
    wanted = set(kept)
    rows = np.array([spot in wanted for spot in table.spot], bool)
    if table.selected is not None and (rows & table.selected).any():
        rows &= table.selected
    return table.x[rows], table.y[rows]


def _facts(
    header: decode.Header,
    transparent: bool,
    squares: Squares,
    pictures: dict,
    pixels: bool,
    flags: dict[str, str],
) -> dict:
    """Return the facts of this step for the record."""
    notes = {code: f"{codes.FLAGS[code]}: {sentence}" for code, sentence in flags.items()}
    if header.whole:
        notes[codes.DECODED_WHOLE] = f"{header.whole}, so memory grows with it"
    if transparent:
        notes[codes.TRANSPARENT] = codes.FLAGS[codes.TRANSPARENT]
    if squares.size > squares.side:
        notes[codes.UPSAMPLED] = f"tiles of {squares.side} px were enlarged to {squares.size} px"
    longest = max(header.width, header.height)
    return {
        "image_format": header.format,
        "image_dtype": header.dtype,
        "image_samples": header.bands,
        "width": header.width,
        "height": header.height,
        "tiles": len(squares),
        "pixels": pixels,
        tile_store.SIDE: squares.side,
        tile_store.SIZE: squares.size,
        HIRES_SCALE: max(pictures[tile_store.HIRES].shape[:2]) / longest,
        LOWRES_SCALE: max(pictures[tile_store.LOWRES].shape[:2]) / longest,
        "flags": list(notes),
        "warnings": list(notes.values()),
    }
