"""Write pairs to shards: files of shuffled samples that are read from front to back.

The order is one perfect shuffle of the selection. It is divided among the jobs, and the part of a
job among its files. So the content of a file depends only on the options and the results.
"""

import json
import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from st1k4m.errors import SlideError
from st1k4m.run.outputs import atomic_folder, write_text
from st1k4m.training import order
from st1k4m.training.collection import Collection
from st1k4m.training.pairs import Pairs
from st1k4m.training.shard_options import TILES, ShardOptions
from st1k4m.training.shard_writers import WRITERS, HashingFile, Sample

log = logging.getLogger(__name__)

PART = "part.json"
"""Name of the file in which a job lists its shards."""

_PIECE = 64  # pairs that are read at a time, then encoded by one thread; more do not fit the cache
_BUFFER = 1 << 20  # bytes written at a time; one call per sample took twice as long
_TRIED = 64  # pairs that are encoded to estimate the size of a sample


def write_shards(
    results: str | Path,
    name: str,
    options: ShardOptions,
    job: int,
    out: str | Path,
    threads: int = 1,
) -> None:
    """Write the shards of one job.

    Parameters
    ----------
    results
        The results of the workflow.
    name
        Name of the set of shards.
    options
        Options of the set.
    job
        Number of this job, from 0 to ``options.jobs - 1``.
    out
        The folder to make. It gets the shards, ``{name}-{number}.tar`` or ``.parquet``, numbered
        over all jobs, and ``part.json``, which lists them with checksums.
    threads
        Number of cores to use.

    Raises
    ------
    SlideError
        The selection is empty or has fewer pairs than jobs, or a slide's files cannot be read.
    """
    try:
        pairs = open_pairs(results, options)
    except ValueError as error:
        raise SlideError(f"shards {name}", str(error), f"correct shards.{name}") from None
    if len(pairs) < options.jobs:
        what = f"{options.jobs} jobs for {len(pairs):,} pairs"
        raise SlideError(f"shards {name}", what, f"set shards.{name}.jobs to a lower number")
    shuffled = order.shuffle_pairs(pairs.sizes, options.seed, 0, block=1)
    plan = _plan(pairs, options, shuffled)
    mine = shuffled[order.part_of_rank(len(pairs), job, options.jobs)]
    cv2.setNumThreads(1)
    with atomic_folder(out) as folder, ThreadPoolExecutor(threads) as pool:
        folder.mkdir()
        shards = []
        for number in range(plan.shards):
            part = mine[order.part_of_rank(len(mine), number, plan.shards)]
            path = folder / f"{name}-{job * plan.shards + number:06d}{options.ending}"
            encoded = _samples(pairs, part, _encoder(options), pool, threads)
            shards.append(_write_shard(path, pairs, encoded, options, plan.group))
            log.info("%s: %d pairs", path.name, len(part))
        about = {"job": job, "shards": shards, **_describe(pairs)}
        write_text(folder / PART, json.dumps(about, indent=1) + "\n")


def open_pairs(results: str | Path, options: ShardOptions) -> Pairs:
    """Open the pairs of a set of shards."""
    return Collection(results).pairs(
        split=options.split,
        part=options.part or None,
        panel=options.panel,
        size=options.size,
        target=None if options.target == "none" else options.target,
        over=options.over,
        labels=options.labels,
        arrays="numpy",
    )


@dataclass(frozen=True)
class _Plan:
    """Number of files that a job writes, and number of pairs in a row group of parquet."""

    shards: int
    group: int


def _plan(pairs: Pairs, options: ShardOptions, shuffled: np.ndarray) -> _Plan:
    """Compute the plan from the first pairs of the order, so it is the same in every job."""
    encode = _encoder(options)
    batch = pairs.read(shuffled[:_TRIED])
    sizes = [len(encode(tile)) for tile in batch["tile"].transpose(0, 2, 3, 1)]
    arrays = sum(batch[key][0].nbytes for key in ("expression", "counts") if key in batch)
    size = np.mean(sizes) + arrays + 1024  # names, headers and the description
    of_job = -(-len(pairs) // options.jobs)
    shards = max(1, round(of_job * size / (options.shard_mb * 1e6)))
    group = max(1, round(options.row_group_mb * 1e6 / size))
    return _Plan(min(shards, len(pairs) // options.jobs), group)


def _write_shard(
    path: Path, pairs: Pairs, samples: Iterator[Sample], options: ShardOptions, group: int
) -> dict[str, Any]:
    """Write one file; return its entry in the index."""
    written = 0
    with open(path, "wb", buffering=_BUFFER) as file:
        out = HashingFile(file)
        with WRITERS[options.format](out, pairs.genes, pairs.label_names, options, group) as writer:
            for sample in samples:
                writer.add(sample)
                written += 1
    return {
        "path": path.name,
        "pairs": written,
        "bytes": path.stat().st_size,
        "sha256": out.digest.hexdigest(),
    }


def _samples(
    pairs: Pairs, part: np.ndarray, encode: Callable, pool: ThreadPoolExecutor, threads: int
) -> Iterator[Sample]:
    """Yield the samples in their order; while one piece is written, the next ones are encoded."""
    ahead = threads + 1
    # buffers are reused: new memory for every piece would take longer than reading it
    tiles_of = deque(
        np.empty((_PIECE, pairs.size, pairs.size, 3), np.uint8) for _ in range(ahead + 1)
    )

    def allocate(shape: tuple[int, ...], dtype: type) -> np.ndarray:
        if len(shape) != 4:
            return np.empty(shape, dtype)
        tiles_of.rotate()
        return tiles_of[0][: shape[0]]

    def encode_all(tiles: np.ndarray) -> list[bytes]:
        return [encode(tile) for tile in tiles]

    begun: deque[tuple[dict, Future[list[bytes]]]] = deque()
    for begin in range(0, len(part), _PIECE):
        batch = pairs.read(part[begin : begin + _PIECE], allocate)
        begun.append((batch, pool.submit(encode_all, batch.pop("tile").transpose(0, 2, 3, 1))))
        if len(begun) > ahead:
            yield from _finish(*begun.popleft())
    for piece in begun:
        yield from _finish(*piece)


def _finish(batch: dict[str, Any], encoded: Future[list[bytes]]) -> Iterator[Sample]:
    for row, content in enumerate(encoded.result()):
        yield Sample(content, {key: values[row] for key, values in batch.items()})


def _encoder(options: ShardOptions) -> Callable[[np.ndarray], bytes]:
    """Return the function that encodes a tile, (h, w, 3) uint8 RGB, as a file."""
    if options.tile == "webp":
        return _encode_webp
    settings = [cv2.IMWRITE_JPEG_QUALITY, options.quality] if options.tile == "jpeg" else []
    ending = TILES[options.tile]

    def encode(tile: np.ndarray) -> bytes:
        _, content = cv2.imencode(ending, cv2.cvtColor(tile, cv2.COLOR_RGB2BGR), settings)
        return content.tobytes()

    return encode


def _encode_webp(tile: np.ndarray) -> bytes:
    # OpenCV compresses lossless WebP with the highest effort: 20 times as long, 15 % smaller
    import pyvips

    height, width, _ = tile.shape
    image = pyvips.Image.new_from_memory(tile.tobytes(), width, height, 3, "uchar")
    return image.copy(interpretation="srgb").webpsave_buffer(lossless=True, effort=0)


def _describe(pairs: Pairs) -> dict[str, Any]:
    """Return the facts that must be the same in all jobs."""
    sizes = dict(zip(pairs.slides, pairs.sizes.tolist(), strict=True))
    return {"genes": pairs.genes, "labels": pairs.label_names, "size": pairs.size, "slides": sizes}
