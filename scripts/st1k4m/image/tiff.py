"""Find the layout of a TIFF, and read samples in separate planes, which libvips does not."""

import itertools
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile

MAX_PAGES = 100

ERRORS = (
    *(tifffile.TiffFileError, ValueError, KeyError, IndexError, RuntimeError),
    *(struct.error, zlib.error),
)
"""Exceptions of tifffile for broken files and for codecs that are not installed."""

_RGB, _CMYK, _YCBCR = 2, 5, 6  # photometric interpretations
_SEPARATE = 2  # planar configuration


class PagesError(Exception):
    """It is not clear which page is the slide."""


class CodecError(Exception):
    """The pixels cannot be read with the installed codecs."""


def read_layout(path: str | Path) -> dict:
    """Find the image among the pages of a TIFF, and how its rows are stored.

    Returns
    -------
    dict
        ``pages``: the page of the largest level, or the three grey pages that are red, green and
        blue. ``layout``: ``tiles``, ``strips``, or ``planes`` if :func:`open_planes` must read it.
        ``unit``: number of rows that can only be decoded together.

    Raises
    ------
    PagesError
        More than one page has the largest size, and they are not three channels; or there are more
        than `MAX_PAGES`.
    CodecError
        The page is in separate planes, and tifffile has no codec for their compression.
    ERRORS
        The file is broken.
    """
    with tifffile.TiffFile(path) as file:
        pages = list(itertools.islice(file.pages, MAX_PAGES + 1))
        if not pages:
            raise tifffile.TiffFileError("it has no page")
        chosen = _choose(pages)
        return {"pages": chosen, **_storage(pages[chosen[0]])}


def open_planes(file: tifffile.TiffFile, page: int) -> Callable[[int, int], np.ndarray]:
    """Return a function (top, rows) that reads ``rows`` from row ``top`` of separate planes.

    ``top`` must be a multiple of the layout's ``unit``. The function returns ``(rows, width,
    samples)`` in the page's dtype.
    """
    stored = file.pages[page]
    width, samples = stored.imagewidth, stored.samplesperpixel
    unit = stored.tilelength if stored.is_tiled else stored.rowsperstrip
    across = -(-width // stored.tilewidth) if stored.is_tiled else 1
    of_plane = len(stored.dataoffsets) // samples

    def read(top: int, rows: int) -> np.ndarray:
        band = np.zeros((rows, width, samples), stored.dtype)
        lines = range(top // unit, -(-(top + rows) // unit))
        for plane, line, column in itertools.product(range(samples), lines, range(across)):
            index = plane * of_plane + line * across + column
            file.filehandle.seek(stored.dataoffsets[index])
            data = file.filehandle.read(stored.databytecounts[index])
            segment, _, _ = stored.decode(data, index)
            y, x = line * unit - top, column * stored.tilewidth
            part = segment[0, : rows - y, : width - x, 0]
            band[y : y + len(part), x : x + part.shape[1], plane] = part
        return band

    return read


def _choose(pages: list) -> tuple[int, ...]:
    areas = [page.imagewidth * page.imagelength for page in pages]
    largest = [index for index, area in enumerate(areas) if area == max(areas)]
    kinds = {(pages[i].shape, pages[i].dtype, pages[i].samplesperpixel) for i in largest}
    channels = len(largest) == 3 and len(kinds) == 1 and pages[largest[0]].samplesperpixel == 1
    if len(pages) <= MAX_PAGES and (len(largest) == 1 or channels):
        return tuple(largest)
    sizes = ", ".join(f"{page.imagewidth} x {page.imagelength}" for page in pages[:4])
    raise PagesError(f"{len(pages)} pages ({sizes}, ...)")


def _storage(page) -> dict:
    separate = page.planarconfig == _SEPARATE and page.samplesperpixel > 1
    rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    # libvips reads separate planes only in strips, and only if the TIFF states their colours
    if separate and (page.is_tiled or page.photometric not in (_RGB, _CMYK)):
        if page.compression not in tifffile.TIFF.DECOMPRESSORS:
            codec = getattr(page.compression, "name", page.compression)  # a number has no name
            raise CodecError(f"separate planes, compressed with {codec}")
        return {"layout": "planes", "unit": rows}
    if page.is_tiled:
        return {"layout": "tiles", "unit": rows}
    # libvips decodes tall strips row by row where libtiff can
    by_row = rows > 128 and not separate and page.photometric != _YCBCR
    return {"layout": "strips", "unit": 1 if by_row else rows}
