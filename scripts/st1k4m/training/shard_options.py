"""The options of a set of shards. Standard library only: read at parse time."""

import dataclasses
import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from st1k4m.errors import ConfigError

FORMATS = {"webdataset": ".tar", "parquet": ".parquet"}
"""Formats of shards, with their file suffixes."""

TILES = {"jpeg": ".jpg", "webp": ".webp", "png": ".png"}
"""Formats of a tile, with their file suffixes; all except JPEG are lossless."""

TARGETS = ("log1p", "counts", "both", "none")
OVER = ("all", "panel")

_NAME = re.compile(r"\w+")


@dataclass(frozen=True)
class ShardOptions:
    """Content and format of a set of shards.

    Attributes
    ----------
    split, part
        The slides of these parts of a split; without a split all slides.
    panel
        Name of the panel of genes; needed unless the target is ``none``.
    size
        Side of a tile in pixels; None if all stores have the same.
    target
        ``log1p``, ``counts``, ``both``, or ``none`` for tiles alone.
    over
        Genes over which counts are normalised: ``all`` genes of the slide, or the ``panel``.
    labels
        Whether samples have the pathologists' label.
    tile
        ``jpeg``, or lossless: ``webp`` or ``png``.
    quality
        Quality of JPEG, 1 to 100.
    format
        ``webdataset`` or ``parquet``.
    seed
        Seed of the order of the samples.
    jobs
        Number of jobs that write; each writes its own files.
    shard_mb
        Approximate size of a file in MB (10**6 bytes).
    row_group_mb
        Approximate size of a row group of parquet in MB (10**6 bytes).
    """

    split: str | None = None
    part: tuple[str, ...] = ()
    panel: str | None = None
    size: int | None = None
    target: str = "log1p"
    over: str = "all"
    labels: bool = False
    tile: str = "jpeg"
    quality: int = 95
    format: str = "webdataset"
    seed: int = 0
    jobs: int = 16
    shard_mb: float = 1000
    row_group_mb: float = 200

    @property
    def ending(self) -> str:
        """Suffix of the shard files."""
        return FORMATS[self.format]


def read_options(
    name: str, given: Mapping, splits: Collection[str] = (), panels: Collection[str] = ()
) -> ShardOptions:
    """Read the options of one set of shards.

    Parameters
    ----------
    name
        Name of the set.
    given
        The section ``shards.<name>`` of the configuration.
    splits, panels
        Names of the splits and panels of the configuration.

    Raises
    ------
    ConfigError
        An option is unknown or has a wrong value; one line per fault.
    """
    where = f"shards.{name}"
    known = [field.name for field in dataclasses.fields(ShardOptions)]
    faults = [_unknown(f"{where}.{key}", key, known) for key in given if key not in known]
    values = {key: value for key, value in given.items() if key in known}
    if "part" in values:
        part = values["part"]
        values["part"] = tuple(map(str, part if isinstance(part, list | tuple) else [part]))
    options = ShardOptions(**values)
    faults += [f"{where}.{fault}" for fault in _check(options)]
    if not _NAME.fullmatch(name):
        faults.append(f"{where}: a name may have only letters, digits and _")
    for key, names in (("split", splits), ("panel", panels)):
        value = getattr(options, key)
        if value is not None and value not in names:
            faults.append(_unknown(f"{where}.{key}: {value}", value, list(names), f"{key}s"))
    if faults:
        raise ConfigError("\n".join(faults))
    return options


def _check(options: ShardOptions) -> list[str]:
    faults = []
    for key, choices in (("tile", TILES), ("format", FORMATS), ("target", TARGETS), ("over", OVER)):
        value = getattr(options, key)
        if value not in choices:
            faults.append(f"{key}: found {value!r}, expected one of {', '.join(choices)}")
    for key, least, most in (
        *(("size", 1, None), ("quality", 1, 100), ("seed", 0, None), ("jobs", 1, 9999)),
        *(("shard_mb", 0.001, None), ("row_group_mb", 0.001, None)),
    ):
        value = getattr(options, key)
        kind = int | float if key.endswith("_mb") else int
        if key == "size" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, kind) or value < least:
            faults.append(f"{key}: found {value!r}, expected a number of at least {least}")
        elif most is not None and value > most:
            faults.append(f"{key}: found {value!r}, expected at most {most}")
    if options.panel is None and options.target != "none":
        faults.append("panel: needed for the expression; give a panel, or target: none")
    if (options.split is None) != (not options.part):
        faults.append("split: a split and its part belong together; give both or neither")
    return faults


def _unknown(where: str, name: str, known: list[str], kind: str = "option") -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    meant = f"did you mean {close[0]}?" if close else f"known are {', '.join(known) or 'none'}"
    return (
        f"{where}: no such option; {meant}"
        if kind == "option"
        else f"{where} is not one of the {kind}; {meant}"
    )
