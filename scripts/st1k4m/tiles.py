"""Cut every spot's tile out of the slide image in one pass, and read the store that results.

The image streams through a window of rows just tall enough for one square. A square is cut when its
last row is in, and written at once to its place: rows of the store follow the AnnData, squares come
in the order of the image. The pictures of the AnnData come out of the same pass.
"""

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import cv2
import h5py
import numpy as np

from st1k4m import archives, images
from st1k4m.jobs import atomic
from st1k4m.shrink import Shrinker
from st1k4m.squares import Squares, Window, place_squares, tissue_share

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
    archive: str | Path | None = None,
    threads: int = 1,
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
        ``extent``, ``size``, ``edge``, ``fill``, ``upsample``, ``format``, ``compression``,
        ``tissue_threshold``, ``drop_off_tissue``, ``max_pixels``, as in ``config.yaml``.
    archive
        Where the tar goes with ``format`` ``webdataset`` or ``png``.
    threads
        Cores to use.

    Raises
    ------
    SlideError
        The image is broken, truncated or too large; the slide has no micrometres per pixel, or is
        too coarse, for the extent and size asked; an id cannot be a file name in the archive.
    """
    from st1k4m import geometry

    cv2.setNumThreads(1)  # a tile is too small to share; cutting runs beside decoding instead
    header = images.read_header(image, slide=slide, max_pixels=options["max_pixels"])
    extent = (header.width, header.height)
    table, facts = geometry.read_spots(spots)
    squares, dropped = place_squares(slide, table, facts, kept, *extent, options)
    archived = options["format"] in ("webdataset", "png")
    if archived:
        archives.check_names(slide, squares.spots)
    attributes = {
        "patch_size_src": squares.side,
        "patch_size_target": squares.size,
        "downsample": squares.side / squares.size,
        "pixel_size": facts["um_per_px"] or np.nan,
        "name": slide,
    }
    bands = images.Bands(image, header, slide=slide, threads=threads)
    compression = options["compression"] if options["format"] == "hdf5" else None

    with contextlib.ExitStack() as stack:
        store = stack.enter_context(atomic(out))
        # where tiles stay as they are cut, each goes to its place at once
        direct = compression == "none" and not options["drop_off_tissue"]
        if direct:
            offset = _write_store(store, squares, attributes, compression)
            file = stack.enter_context(open(store, "r+b"))
        else:
            offset, file = 0, stack.enter_context(tempfile.TemporaryFile(dir=store.parent))
        raw = _RawTiles(file, offset, squares)
        pictures = _stream(bands, squares, options, raw, threads)
        tissue = tissue_share(images.tissue_mask(pictures["lowres"]), squares, *extent)
        rows = np.arange(len(squares))
        if options["drop_off_tissue"]:
            off = tissue < options["tissue_threshold"]
            dropped |= dict.fromkeys(squares.spots[off].tolist(), "off_tissue")
            rows, squares, tissue = rows[~off], squares.select(~off), tissue[~off]
        if not direct:
            _write_store(store, squares, attributes, compression, map(raw.read, rows))
        if archived:
            samples = _samples(squares, tissue, map(raw.read, rows), attributes)
            with atomic(archive) as tar:
                archives.write_tiles(tar, options["format"], samples, threads)
        about = _facts(header, bands.transparent, squares, pictures, options["format"])
        _complete_store(store, tissue, pictures, dropped, about)
    log.info("cut %d tiles of %d px", len(squares), squares.size)


class TileStore:
    """Read the tiles of one slide.

    The file is opened on first use in each process, so a store can be handed to worker processes.

    Parameters
    ----------
    path
        What :func:`cut_tiles` wrote with ``format: hdf5``.

    Attributes
    ----------
    barcodes : list of str
        The spots' ids: the AnnData's ``obs_names``.
    coords : numpy.ndarray
        ``(n, 2)`` int64, (x, y) of each square's top left corner in the image.

    Raises
    ------
    ValueError
        The store holds no tiles.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._opened: tuple[int, h5py.Dataset] | None = None
        with h5py.File(self.path) as file:
            if "img" not in file:
                made = json.loads(file.attrs["facts"])["tile_format"]
                raise ValueError(f"{path} holds no tiles: it was made with tiles.format: {made}")
            self.barcodes = [name.decode() for name in file["barcode"][:, 0]]
            self.coords = file["coords"][:]

    def __len__(self) -> int:
        return len(self.barcodes)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return tile ``index``, ``(h, w, 3)`` uint8 RGB."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), h5py.File(self.path)["img"])
        return self._opened[1][index]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_opened": None}


class _RawTiles:
    """Tiles one after the other in a file, from ``offset`` on."""

    def __init__(self, file: BinaryIO, offset: int, squares: Squares) -> None:
        self._descriptor, self._offset = file.fileno(), offset
        self._shape, self._bytes = squares.tile_shape, squares.tile_bytes

    def write(self, rows: np.ndarray, tiles: np.ndarray) -> None:
        """Put ``tiles`` at ``rows``; neighbours go in one piece."""
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        positions = (self._offset + rows[starts] * self._bytes).tolist()
        edges = (np.append(starts, len(rows)) * self._bytes).tolist()
        content = memoryview(tiles).cast("B")
        for position, begin, end in zip(positions, edges[:-1], edges[1:], strict=True):
            while begin < end:  # a write may stop short of a large piece
                written = os.pwrite(self._descriptor, content[begin:end], position)
                begin, position = begin + written, position + written

    def read(self, row: int) -> np.ndarray:
        data = os.pread(self._descriptor, self._bytes, self._offset + int(row) * self._bytes)
        return np.frombuffer(data, np.uint8).reshape(self._shape)


class _WriteBehind:
    """Write one batch of tiles while the next is cut."""

    def __init__(self, raw: _RawTiles) -> None:
        self._raw = raw
        self._pool = ThreadPoolExecutor(1)
        self._pending = self._pool.submit(int)

    def __enter__(self) -> "_WriteBehind":
        return self

    def write(self, rows: np.ndarray, tiles: np.ndarray) -> None:
        self._pending.result()
        self._pending = self._pool.submit(self._raw.write, rows, tiles)

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()
        if error[0] is None:
            self._pending.result()


def _stream(
    bands: images.Bands, squares: Squares, options: dict, raw: _RawTiles, threads: int
) -> dict[str, np.ndarray]:
    """Pass the image once: write the tiles, and return the pictures."""
    header = bands.header
    shrinker = Shrinker(header.width, header.height, HIRES)
    window = Window(squares, header.width, header.height, options["fill"])
    with _WriteBehind(raw) if threads > 1 else contextlib.nullcontext(raw) as writer:
        for band in bands:
            if options["format"] != "none":
                for rows, tiles in window.feed(band):
                    writer.write(rows, tiles)
            shrinker.feed(band)
    hires = shrinker.picture()
    lower = Shrinker(hires.shape[1], hires.shape[0], LOWRES)
    lower.feed(hires)
    return {"hires": hires, "lowres": lower.picture()}


def _facts(
    header: images.Header, transparent: bool, squares: Squares, pictures: dict, tile_format: str
) -> dict:
    """Return what the record says of this step."""
    notes = {}
    if header.whole:
        notes["decoded_whole"] = f"{header.whole}, so memory grows with it"
    if transparent:
        notes["transparent"] = "transparent pixels have the colour that is stored below"
    if squares.size > squares.side:
        notes["upsampled"] = f"tiles of {squares.side} px were enlarged to {squares.size} px"
    longest = max(header.width, header.height)
    return {
        "image_format": header.format,
        "image_dtype": header.dtype,
        "image_samples": header.bands,
        "width": header.width,
        "height": header.height,
        "tiles": len(squares),
        "tile_format": tile_format,
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


def _samples(
    squares: Squares, tissue: np.ndarray, tiles: Iterable[np.ndarray], attributes: dict
) -> Iterator[tuple[str, np.ndarray, dict]]:
    """Give id, tile and description of every tile; what is not known is null."""
    numbers = zip(squares.left, squares.top, squares.inside, tissue, strict=True)
    common = {key: None if value != value else value for key, value in attributes.items()}
    for spot, tile, (left, top, inside, share) in zip(squares.spots, tiles, numbers, strict=True):
        yield (
            spot,
            tile,
            {
                "spot": spot,
                "coords": [int(left), int(top)],
                "inside": float(inside),
                "tissue": None if np.isnan(share) else float(share),
                **common,
            },
        )
