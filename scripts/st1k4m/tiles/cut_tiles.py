"""Cut every spot's tile out of the slide image in one pass, and read the store that results.

The image streams through a window of rows just tall enough for one square. A square is cut when its
last row is in, and written at once to its place: rows of the store follow the AnnData, squares come
in the order of the image. The pictures of the AnnData come out of the same pass.
"""

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import h5py
import numpy as np

from st1k4m import codes
from st1k4m.geometry.placement import examine
from st1k4m.geometry.spot_table import read_spots
from st1k4m.image import decode
from st1k4m.image.shrink import Shrinker
from st1k4m.image.tissue_mask import tissue_mask
from st1k4m.run.outputs import atomic
from st1k4m.run.provenance import Made
from st1k4m.tiles.options import TileOptions
from st1k4m.tiles.squares import Squares, place_squares, tissue_share
from st1k4m.tiles.store import _RawTiles
from st1k4m.tiles.window import Window

log = logging.getLogger(__name__)

HIRES, LOWRES = 2000, 600  # longest sides of the pictures, in pixels, as Space Ranger's

_CHUNK_BYTES = 128 * 2**10


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
        PNG, JPEG or TIFF, whatever its name.
    spots
        What ``align_spots`` wrote.
    kept
        Ids of the AnnData's spots, in its order. Those outside the image are not cut.
    out
        The tile store, HDF5.
    slide
        Name of the slide.
    options
        The arguments of `TileOptions`.
    threads
        Cores to use.
    made
        What the store is made from; it carries that.

    Raises
    ------
    SlideError
        The image is broken, truncated or too large; the slide has no micrometres per pixel, or is
        too coarse, for the extent and size asked.
    """
    chosen = TileOptions.of_section(options)
    cv2.setNumThreads(1)  # a tile is too small to share; cutting runs beside decoding instead
    header = decode.read_header(image, slide=slide, max_pixels=chosen.max_pixels)
    extent = (header.width, header.height)
    table, facts = read_spots(spots)
    squares, dropped = place_squares(slide, table, facts, kept, *extent, chosen)
    attributes = {
        "patch_size_src": squares.side,
        "patch_size_target": squares.size,
        "downsample": squares.side / squares.size,
        "pixel_size": facts["um_per_px"] or np.nan,
        "name": slide,
    }
    bands = decode.Bands(image, header, slide=slide, threads=threads)
    compression = chosen.compression if chosen.pixels else None

    with contextlib.ExitStack() as stack:
        store = stack.enter_context(atomic(out, made))
        # where tiles stay as they are cut, each goes to its place at once
        direct = compression == "none" and not chosen.drop_off_tissue
        if direct:
            offset = _write_store(store, squares, attributes, compression)
            file = stack.enter_context(open(store, "r+b"))
        else:
            offset, file = 0, stack.enter_context(tempfile.TemporaryFile(dir=store.parent))
        raw = _RawTiles(file, offset, squares)
        pictures = _stream(bands, squares, chosen, raw, threads)
        mask = tissue_mask(pictures["lowres"])
        tissue = tissue_share(mask, squares, *extent)
        placement, flags = examine(mask, extent, *_centres(table, kept), facts, slide)
        rows = np.arange(len(squares))
        if chosen.drop_off_tissue:
            off = tissue < chosen.tissue_threshold
            dropped |= dict.fromkeys(squares.spots[off].tolist(), codes.OFF_TISSUE)
            rows, squares, tissue = rows[~off], squares.select(~off), tissue[~off]
        if not direct:
            _write_store(store, squares, attributes, compression, map(raw.read, rows))
        about = _facts(header, bands.transparent, squares, pictures, chosen.pixels, flags)
        about["placement"] = placement
        _complete_store(store, tissue, pictures, dropped, about)
    log.info("cut %d tiles of %d px", len(squares), squares.size)


class _Writer:
    """Write tiles; with a second thread one batch while the next is cut."""

    def __init__(self, raw: _RawTiles, threads: int) -> None:
        self._raw = raw
        self._pool = ThreadPoolExecutor(1) if threads > 1 else None
        self._pending: Future | None = None

    def __enter__(self) -> "_Writer":
        return self

    def write(self, rows: np.ndarray, tiles: np.ndarray) -> None:
        if self._pool is None:
            self._raw.write(rows, tiles)
            return
        self._wait()
        self._pending = self._pool.submit(self._raw.write, rows, tiles)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        if error[0] is None:
            self._wait()


def _stream(
    bands: decode.Bands, squares: Squares, options: TileOptions, raw: _RawTiles, threads: int
) -> dict[str, np.ndarray]:
    """Pass the image once: write the tiles, and return the pictures."""
    header = bands.header
    shrinker = Shrinker(header.width, header.height, HIRES)
    window = Window(squares, header.width, header.height, options.fill)
    with _Writer(raw, threads) as writer:
        for band in bands:
            if options.pixels:
                for rows, tiles in window.feed(band):
                    writer.write(rows, tiles)
            shrinker.feed(band)
    hires = shrinker.picture()
    lower = Shrinker(hires.shape[1], hires.shape[0], LOWRES)
    lower.feed(hires)
    return {"hires": hires, "lowres": lower.picture()}


def _centres(table, kept: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of the kept spots that have them; of those in tissue where a file says so."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = pc.is_in(table["spot"], value_set=pa.array(kept, pa.string()))
    if "selected" in table.column_names and pc.any(pc.and_(rows, table["selected"])).as_py():
        rows = pc.and_(rows, table["selected"])
    there = table.filter(rows)
    return there["x"].to_numpy(), there["y"].to_numpy()


def _facts(
    header: decode.Header,
    transparent: bool,
    squares: Squares,
    pictures: dict,
    pixels: bool,
    flags: dict[str, str],
) -> dict:
    """Return what the record says of this step."""
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
        "patch_size_src": squares.side,
        "patch_size_target": squares.size,
        "tissue_hires_scalef": max(pictures["hires"].shape[:2]) / longest,
        "tissue_lowres_scalef": max(pictures["lowres"].shape[:2]) / longest,
        "flags": list(notes),
        "warnings": list(notes.values()),
    }


def _write_store(
    path: Path,
    squares: Squares,
    attributes: dict,
    compression: str | None,
    tiles: Iterable[np.ndarray] = (),
) -> int:
    """Write a store; without ``compression`` (None) it has no ``img``.

    Returns
    -------
    int
        Where in the file an uncompressed ``img`` begins, so that tiles can be put there later.
    """
    names = [spot.encode() for spot in squares.spots]
    longest = max(map(len, names), default=1)
    with h5py.File(path, "w") as file:
        offset = 0
        if compression:
            img = _create_img(file, squares, compression)
            offset = img.id.get_offset() or 0
            for row, tile in enumerate(tiles):
                img[row] = tile
        coords = np.stack([squares.left, squares.top], axis=1)
        file.create_dataset("coords", data=coords, track_times=False)
        barcode = np.array(names, f"S{longest}").reshape(-1, 1)
        file.create_dataset("barcode", data=barcode, track_times=False)
        file.create_dataset("inside", data=squares.inside, track_times=False)
        # HEST's readers look for these at `img`, TRIDENT's at `coords`
        for place in [file, *(file[name] for name in ("img", "coords") if name in file)]:
            place.attrs.update(attributes)
    return offset


def _create_img(file: h5py.File, squares: Squares, compression: str) -> h5py.Dataset:
    shape = (len(squares), *squares.tile_shape)
    if compression != "none" and len(squares):
        tiles = max(1, min(len(squares), _CHUNK_BYTES // squares.tile_bytes))
        chunks = (tiles, *squares.tile_shape)
        return file.create_dataset(
            "img", shape, np.uint8, chunks=chunks, compression=compression, track_times=False
        )
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # so that its place in the file is known
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plist.set_obj_track_times(False)
    space = h5py.h5s.create_simple(shape)
    return h5py.Dataset(h5py.h5d.create(file.id, b"img", h5py.h5t.STD_U8LE, space, plist))


def _complete_store(
    path: Path, tissue: np.ndarray, pictures: dict, dropped: dict[str, str], facts: dict
) -> None:
    """Add what only the pass could tell."""
    columns = {"spot": list(dropped), "reason": list(dropped.values())}
    with h5py.File(path, "r+") as file:
        file.create_dataset("tissue", data=tissue, track_times=False)
        for name, picture in pictures.items():
            file.create_dataset(f"pictures/{name}", data=picture, track_times=False)
        for name, values in columns.items():
            text = np.array(values, h5py.string_dtype())
            file.create_dataset(f"dropped/{name}", data=text, track_times=False)
        file.attrs["facts"] = json.dumps(facts)
