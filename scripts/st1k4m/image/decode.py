"""Open slide images by content, stream them as bands of RGB rows, shrink them.

An image is read once, from top to bottom, so the memory depends on the band and not on the image.
Pixels are used as stored: orientation tags are ignored, because coordinates refer to stored pixels;
alpha is dropped; 16-bit samples are reduced to their high byte, as PIL does for RGB.

libvips decodes; tifffile reads properties of a TIFF that libvips does not report.
"""

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from st1k4m.errors import SlideError

MAX_PIXELS = 4_000_000_000
MAX_WHOLE_MB = 32_768  # of an image that cannot be streamed; a tiny file can declare far more

_BAND_BYTES = 4 * 2**20
_BAND_ROWS = 256
_MAPPED_BYTES = 64 * 2**20  # libvips maps JPEG files into memory; larger ones are read by Python

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"II*\x00": "tiff",
    b"MM\x00*": "tiff",
    b"II+\x00": "tiff",  # BigTIFF
    b"MM\x00+": "tiff",
}
_COLOURS = ("b-w", "grey16", "srgb", "rgb", "rgb16", "multiband", "cmyk")
_DTYPES = {"uchar": "uint8", "ushort": "uint16"}
_AGAIN = "fetch the image again; if it is the same at its source, list the slide under exclude"


@dataclass(frozen=True)
class Header:
    """Properties of an image file, from its header.

    Attributes
    ----------
    format
        ``png``, ``jpeg`` or ``tiff``, by content.
    width, height
        Pixels as stored.
    bands
        Samples per decoded pixel (a palette is decoded to its colours).
    colours
        Number of colour samples: 1 grey, 3 RGB, 4 CMYK. Other samples are alpha and are dropped.
    dtype
        ``uint8`` or ``uint16``.
    layout
        ``rows``; for a TIFF ``strips``, ``tiles`` or ``planes``.
    unit
        Number of rows that can only be decoded together: the height of a tile or a strip, or 1.
    whole
        Why the image can only be decoded as a whole; empty if it can be streamed.
    pages
        The pages of a TIFF that make the image: one, or three grey pages for red, green, blue.
    """

    format: str
    width: int
    height: int
    bands: int
    colours: int
    dtype: str
    layout: str = "rows"
    unit: int = 1
    whole: str = ""
    pages: tuple[int, ...] = (0,)

    @property
    def row_bytes(self) -> int:
        """Bytes of one decoded row, before its conversion to 8-bit RGB."""
        return self.width * self.bands * np.dtype(self.dtype).itemsize

    @property
    def band_rows(self) -> int:
        """Rows of one band: whole units that fit a buffer of about 4 MiB."""
        rows = min(_BAND_ROWS, max(16, _BAND_BYTES // self.row_bytes // 16 * 16))
        return max(1, rows // self.unit) * self.unit if self.layout in ("tiles", "planes") else rows


def read_header(path: str | Path, *, slide: str = "", max_pixels: float = MAX_PIXELS) -> Header:
    """Read the properties of an image from its first bytes and its header.

    Raises
    ------
    SlideError
        Not a PNG, JPEG or TIFF; a broken header; more than ``max_pixels`` pixels; samples that are
        not unsigned integers of 8 or 16 bits; a TIFF in which the page of the slide is not clear,
        or whose codec is not installed; an image that can only be decoded as a whole and needs more
        than `MAX_WHOLE_MB`.
    """
    slide = slide or Path(path).stem
    kind = _sniff(path, slide)
    layout = _tiff_layout(path, slide) if kind == "tiff" else {}
    try:
        image = _open(path, kind, layout.get("pages", (0,)))
    except _vips().Error as error:
        raise _broken(path, slide, kind, error) from None
    if image.width * image.height > max_pixels:
        raise SlideError(
            slide,
            f"{path}: {image.width} x {image.height} pixels; tiles.max_pixels is {max_pixels:.3g}",
            "raise tiles.max_pixels if the image is meant to be that large",
        )
    known = image.format in _DTYPES and image.interpretation in _COLOURS and image.bands <= 5
    if not known:
        raise SlideError(
            slide,
            f"{path}: {image.bands} samples of type {image.format} per pixel, colours "
            f"{image.interpretation}; expected grey, RGB or CMYK of 8 or 16 unsigned bits",
            "convert the image to 8 bit RGB",
        )
    header = Header(
        format=kind,
        width=image.width,
        height=image.height,
        bands=image.bands,
        colours=4 if image.interpretation == "cmyk" else 3 if image.bands > 2 else 1,
        dtype=_DTYPES[image.format],
        whole=_why_whole(image, layout.get("unit", 1)),
        **layout,
    )
    if header.whole and decode_mb(header) > MAX_WHOLE_MB:
        raise SlideError(
            slide,
            f"{path}: {header.whole}; {header.width} x {header.height} pixels would take "
            f"{decode_mb(header)} MB",
            "save the image without interlacing, as baseline JPEG, or as a tiled TIFF",
        )
    return header


def decode_mb(header: Header) -> int:
    """Estimate the memory of decoding, bands included, in MB (2**20 bytes).

    A job that cuts tiles needs about 300 MB more.
    """
    # libvips keeps up to a thousand rows, two rows of tiles, or a strip and its copy; libjpeg keeps
    # a progressive image as coefficients of 16 bits
    held = header.height * (2 if header.format == "jpeg" else 1) if header.whole else 1024
    rows = held + 2 * min(header.unit, header.height) + 4 * header.band_rows
    return 100 + header.row_bytes * rows // 2**20


class Bands:
    """The rows of an image from top to bottom, as RGB.

    Iteration yields ``(rows, width, 3)`` uint8 arrays in order; it is possible once.

    Parameters
    ----------
    path, header
        The file, and its header from :func:`read_header`.
    slide
        Name of the slide, for errors.
    threads
        Cores to use. With two or more, the next band is decoded while the caller uses a band.

    Attributes
    ----------
    transparent : bool
        Whether any pixel read so far was not fully opaque.

    Raises
    ------
    SlideError
        During iteration: the file is truncated or broken; the message states how many rows could be
        read.
    """

    def __init__(
        self, path: str | Path, header: Header, *, slide: str = "", threads: int = 1
    ) -> None:
        self.path, self.header, self.slide = path, header, slide or Path(path).stem
        self.transparent = False
        self._threads = threads
        self._plane_errors: tuple[type[Exception], ...] = ()

    def __iter__(self) -> Iterator[np.ndarray]:
        header = self.header
        tops = range(0, header.height, header.band_rows)
        with contextlib.ExitStack() as stack:
            read = self._reader(stack)
            if self._threads == 1:
                yield from (self._decode(read, top) for top in tops)
                return
            ahead = stack.enter_context(ThreadPoolExecutor(1))
            pending = ahead.submit(self._decode, read, 0)
            for top in itertools.islice(tops, 1, None):
                band = pending.result()
                pending = ahead.submit(self._decode, read, top)
                yield band
            yield pending.result()

    def _reader(self, stack: contextlib.ExitStack) -> Callable[[int, int], bytes | np.ndarray]:
        """Return a function (top, rows) that reads ``rows`` from row ``top``; called in order."""
        header = self.header
        if header.layout == "planes":
            import tifffile

            from st1k4m.image import tiff

            self._plane_errors = tiff.ERRORS
            file = stack.enter_context(tifffile.TiffFile(self.path))
            return tiff.open_planes(file, header.pages[0])
        vips = _vips()
        image = _open(self.path, header.format, header.pages).copy()
        image.set_type(vips.GValue.gint_type, "concurrency", self._threads)
        _take_vips_log()  # messages about the header
        if header.layout == "strips":  # a band may end within a strip; a region keeps the rest
            region = vips.Region.new(image)
            return lambda top, rows: region.fetch(0, top, header.width, rows)
        return lambda top, rows: image.crop(0, top, header.width, rows).write_to_memory()

    def _decode(self, read: Callable[[int, int], bytes | np.ndarray], top: int) -> np.ndarray:
        header, vips = self.header, _vips()
        rows = min(header.band_rows, header.height - top)
        try:
            data = read(top, rows)
            # libvips continues when libtiff cannot decode; libtiff's message is in libvips' log
            message = _take_vips_log() if header.format == "tiff" else ""
            if message:
                raise vips.Error("", message)
        except (vips.Error, *self._plane_errors) as error:
            if codec := _missing_codec(str(error)):
                raise SlideError(
                    self.slide,
                    f"{self.path}: a TIFF compressed with {codec}, which cannot be read here",
                    "save the image with another compression, such as deflate, LZW or JPEG",
                ) from None
            raise SlideError(
                self.slide,
                f"{self.path}: broken or truncated {header.format.upper()}: "
                f"{top} of {header.height} rows could be read, then: {_words(error)}",
                _AGAIN,
            ) from None
        band = np.frombuffer(data, header.dtype).reshape(rows, header.width, header.bands)
        return self._to_rgb(band)

    def _to_rgb(self, band: np.ndarray) -> np.ndarray:
        import cv2

        colours = self.header.colours
        if self.header.bands > colours and not self.transparent:
            self.transparent = band[..., colours].min() < np.iinfo(band.dtype).max
        if band.dtype == np.uint16:
            band = (band >> 8).astype(np.uint8)
        if colours == 1:
            return cv2.cvtColor(np.ascontiguousarray(band[..., 0]), cv2.COLOR_GRAY2RGB)
        if colours == 4:
            return _cmyk_to_rgb(band)
        if self.header.bands == 4:
            return cv2.cvtColor(band, cv2.COLOR_RGBA2RGB)
        return np.ascontiguousarray(band[..., :3])


def thumbnail(
    path: str | Path,
    longest: int,
    *,
    slide: str = "",
    threads: int = 1,
    max_pixels: float = MAX_PIXELS,
) -> np.ndarray:
    """Return the image area-averaged to a longest side of at most ``longest``.

    Returns
    -------
    numpy.ndarray
        ``(h, w, 3)`` uint8 RGB. A smaller image is not resized.

    Raises
    ------
    SlideError
        See :func:`read_header` and :class:`Bands`.
    """
    from st1k4m.image.shrink import Shrinker

    header = read_header(path, slide=slide, max_pixels=max_pixels)
    shrinker = Shrinker(header.width, header.height, longest)
    for band in Bands(path, header, slide=slide, threads=threads):
        shrinker.feed(band)
    return shrinker.picture()


def _vips():
    import pyvips  # starts libvips, which reads its number of threads from the environment

    return pyvips


def _take_vips_log() -> str:
    """Return what libvips and libtiff have said of errors, and clear it: making an error does."""
    return _vips().Error("").detail


def _sniff(path: str | Path, slide: str) -> str:
    with open(path, "rb") as file:
        head = file.read(8)
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    found = f"it begins with {head!r}" if head else "it is empty"
    raise SlideError(
        slide,
        f"{path}: not a PNG, JPEG or TIFF: {found}",
        "fetch the image again, or convert it to one of these",
    )


def _open(path: str | Path, kind: str, pages: tuple[int, ...]):
    """Open for sequential reading; libvips' limit on TIFF strips is off: this module has limits."""
    vips = _vips()
    options = {"access": "sequential", "fail_on": "error", "revalidate": True}
    if kind == "png":
        return vips.Image.pngload(str(path), **options)
    if kind == "jpeg":
        if os.path.getsize(path) > _MAPPED_BYTES:
            file = open(path, "rb")  # noqa: SIM115 - closed with the image
            source = vips.SourceCustom()
            source.on_read(file.read)
            source.on_seek(file.seek)
            return vips.Image.new_from_source(source, "", **options)
        return vips.Image.jpegload(str(path), **options)
    images = [vips.Image.tiffload(str(path), page=p, unlimited=True, **options) for p in pages]
    if len(images) == 1:
        return images[0]
    return images[0].bandjoin(images[1:]).copy(interpretation="srgb")


def _tiff_layout(path: str | Path, slide: str) -> dict:
    from st1k4m.image import tiff

    try:
        return tiff.read_layout(path)
    except tiff.PagesError as error:
        raise SlideError(
            slide,
            f"{path}: it is not clear which page is the slide: the TIFF has {error}",
            "keep one page, or three grey pages for red, green and blue",
        ) from None
    except tiff.CodecError as error:
        raise SlideError(
            slide,
            f"{path}: a TIFF with {error}, which cannot be read without the package imagecodecs",
            "save the image with the samples of a pixel side by side, or pip install imagecodecs",
        ) from None
    except tiff.ERRORS as error:
        raise _broken(path, slide, "tiff", error) from None


def _broken(path: str | Path, slide: str, kind: str, error: Exception) -> SlideError:
    return SlideError(
        slide, f"{path}: the header of this {kind.upper()} is broken: {_words(error)}", _AGAIN
    )


def _why_whole(image, unit: int) -> str:
    """Return why an image cannot be decoded in parts; empty if it can."""
    if image.get_typeof("jpeg-multiscan"):
        return "a progressive JPEG is decoded as a whole" if image.get("jpeg-multiscan") else ""
    if image.get_typeof("interlaced"):
        return "an interlaced PNG is decoded as a whole"
    if unit >= image.height > _BAND_ROWS:
        return "a TIFF with one strip is decoded as a whole"
    return ""


def _cmyk_to_rgb(band: np.ndarray) -> np.ndarray:
    """Convert CMYK to RGB as PIL does: each ink absorbs light that the black ink transmits."""
    light = 255 - band[..., 3:4].astype(np.uint16)
    product = band[..., :3] * light + 128
    return (light - ((product >> 8) + product >> 8)).astype(np.uint8)


def _missing_codec(said: str) -> str:
    """Return the name of the codec that libtiff says it lacks; empty if it lacks none."""
    found = re.search(r"(\w+) compression support is not configured", said)
    if found:
        return found[1]
    found = re.search(r"Compression scheme (\d+) \w+ decoding is not implemented", said)
    return f"the scheme of number {found[1]}" if found else ""


def _words(error: Exception) -> str:
    """Return the message of a library on one line, without repetitions."""
    lines = [line.strip() for line in str(error).splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line and "unable to call" not in line))
