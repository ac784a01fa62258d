"""Write the index of a set of shards: the files with checksums, and their content."""

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from st1k4m import __version__
from st1k4m.errors import SlideError
from st1k4m.run.outputs import write_text
from st1k4m.training.shard_options import ShardOptions
from st1k4m.training.write_shards import PART

log = logging.getLogger(__name__)


def index_shards(
    name: str, options: ShardOptions, folders: Sequence[str | Path], out: str | Path
) -> None:
    """Write the index.

    Parameters
    ----------
    name
        Name of the set of shards.
    options
        Options of the set.
    folders
        The folders that `write_shards` made, one per job, in the order of the jobs.
    out
        The index, JSON: ``name``, ``version``, ``options``, ``pairs``, ``genes``, ``labels``,
        ``size`` (pixels), ``slides`` (pairs by slide) and ``shards``: ``path`` relative to the
        index's folder, ``pairs``, ``bytes``, ``sha256``.

    Raises
    ------
    SlideError
        A file is missing or has another size than its job wrote, or the jobs read different
        results.
    """
    out = Path(out)
    common, shards = None, []
    for folder in map(Path, folders):
        part = json.loads((folder / PART).read_text(encoding="utf-8"))
        own = {key: part[key] for key in ("genes", "labels", "size", "slides")}
        if common not in (None, own):
            what = f"{folder} was made from other results than the folders before it"
            raise SlideError(f"shards {name}", what, _AGAIN.format(name))
        common = own
        for shard in part["shards"]:
            path = folder / shard["path"]
            size = path.stat().st_size if path.exists() else None
            if size != shard["bytes"]:
                what = f"{path} has {size or 'no'} bytes, its job wrote {shard['bytes']:,}"
                raise SlideError(f"shards {name}", what, _AGAIN.format(name))
            shards.append(shard | {"path": path.relative_to(out.parent).as_posix()})
    _warn_of_other_folders(out.parent, [Path(folder) for folder in folders])
    index = {
        "name": name,
        "version": __version__,
        "options": dataclasses.asdict(options),
        "pairs": sum(shard["pairs"] for shard in shards),
        **common,
        "shards": shards,
    }
    write_text(out, json.dumps(index, indent=1, ensure_ascii=False) + "\n")


_AGAIN = "remove results/shards/{} and run again"


def _warn_of_other_folders(folder: Path, known: list[Path]) -> None:
    """Log the folders that an earlier run with more jobs left."""
    others = sorted({path for path in folder.iterdir() if path.is_dir()} - set(known))
    if others:
        names = ", ".join(path.name for path in others)
        log.warning("%s: remove %s: an earlier run left them, the index omits them", folder, names)
