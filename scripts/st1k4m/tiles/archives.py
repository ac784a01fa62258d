"""Write tiles as files in one tar per slide: WebDataset samples, or one PNG per spot."""

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
"""A spot's id, its tile, (h, w, 3) uint8 RGB, and its description for the JSON file."""

_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f]|^\.")
_AHEAD = 32  # samples per thread in one batch


def check_names(slide: str, spots: Iterable[str]) -> None:
    """Raise if an id is not a valid file name.

    Raises
    ------
    SlideError
        An id has a slash, a backslash or a control character, or begins with a dot.
    """
    for spot in spots:
        if _UNSAFE.search(spot):
            raise SlideError(
                slide,
                f"spot id {spot!r} cannot be a file name",
                "use tiles.format: hdf5, or give the spot another id in both files",
            )


def write_tiles(path: str | Path, layout: str, samples: Iterable[Sample], threads: int) -> None:
    """Write a tar whose bytes depend only on the samples and their order: no owner, no time.

    Parameters
    ----------
    path
        The tar to write.
    layout
        ``png``: ``<spot>.png``. ``webdataset``: ``<spot>.png`` and ``<spot>.json``; a WebDataset
        key ends at the first dot of a file's name, so a dot in the id is written ``%2E``.
    samples
        Samples in the order of the tar.
    threads
        Number of threads that encode.
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
