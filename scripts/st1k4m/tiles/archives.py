"""Tiles as files in one tar per slide: WebDataset samples, or the authors' PNG per spot."""

import io
import itertools
import json
import re
import tarfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np

from st1k4m.errors import SlideError

Sample = tuple[str, np.ndarray, dict]
"""A spot's id, its tile, and what is known of it."""

_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f]|^\.")
_AHEAD = 32  # samples that each thread may encode ahead of the writing


def check_names(slide: str, spots: Iterable[str]) -> None:
    """Refuse ids that would not be plain file names.

    Raises
    ------
    SlideError
        An id holds a slash, a backslash or a control character, or begins with a dot.
    """
    for spot in spots:
        if _UNSAFE.search(spot):
            raise SlideError(
                slide,
                f"spot id {spot!r} cannot be a file name",
                "use tiles.format: hdf5, or give the spot another id in both files",
            )


def write_tiles(path: str | Path, layout: str, samples: Iterable[Sample], threads: int) -> None:
    """Write a tar whose bytes depend on the samples alone: no owner, no time, in their order.

    Parameters
    ----------
    path
        Where to write.
    layout
        ``png``: ``<spot>.png``. ``webdataset``: ``<spot>.png`` and ``<spot>.json``; a WebDataset
        key ends at the first dot of a file's name, so a dot in the id is written ``%2E``.
    samples
        In the order wanted.
    threads
        How many encode side by side.
    """
    files = {"png": _png_files, "webdataset": _webdataset_files}[layout]
    samples = iter(samples)
    with (
        tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar,
        ThreadPoolExecutor(threads) as pool,
    ):
        while batch := list(itertools.islice(samples, threads * _AHEAD)):
            for name, content in itertools.chain.from_iterable(pool.map(files, batch)):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def _png_files(sample: Sample) -> list[tuple[str, bytes]]:
    spot, tile, _ = sample
    return [(f"{spot}.png", _encode(tile))]


def _webdataset_files(sample: Sample) -> list[tuple[str, bytes]]:
    spot, tile, about = sample
    key = quote(spot, safe="+").replace(".", "%2E")
    text = json.dumps(about, ensure_ascii=False).encode()
    return [(f"{key}.png", _encode(tile)), (f"{key}.json", text)]


def _encode(tile: np.ndarray) -> bytes:
    _, data = cv2.imencode(".png", cv2.cvtColor(tile, cv2.COLOR_RGB2BGR))
    return data.tobytes()
