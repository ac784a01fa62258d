"""The options of a set of shards. Imported while Snakemake parses: the standard library alone."""

import dataclasses
import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from st1k4m.errors import ConfigError

FORMATS = {"webdataset": ".tar", "parquet": ".parquet"}
"""Formats of shards, and how their files end."""

TILES = {"jpeg": ".jpg", "webp": ".webp", "png": ".png"}
"""Formats of a tile, and how its file ends; all but JPEG are lossless."""

TARGETS = ("log1p", "counts", "both", "none")
OVER = ("all", "panel")

_NAME = re.compile(r"\w+")


@dataclass(frozen=True)
class ShardOptions:
    """What a set of shards holds and how it is written.

    Attributes
    ----------
    split, part
        The slides of these parts of a split; without a split all slides.
    panel
        The genes; needed unless the target is ``none``.
    size
        Pixels of a tile's side; None where all stores have the same.
    target
        ``log1p``, ``counts``, ``both``, or ``none`` for tiles alone.
    over
        What ``log1p`` is normalised over: ``all`` genes of the slide, or the ``panel``.
    labels
        Whether samples have the pathologists' label.
    tile
        ``jpeg``, or without loss ``webp`` or ``png``.
    quality
        Of JPEG, 1 to 100.
    format
        ``webdataset`` or ``parquet``.
    seed
        Of the order of the samples.
    jobs
        How many jobs write; each writes its own files.
    shard_mb
        Size of a file, 10**6 bytes, about.
    row_group_mb
        Size of a row group of parquet, 10**6 bytes, about.
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
        """How the files of shards end."""
        return FORMATS[self.format]


def read_options(
    name: str, given: Mapping, splits: Collection[str] = (), panels: Collection[str] = ()
) -> ShardOptions:
    """Read the options of one set of shards.

    Parameters
    ----------
    name
        Of the set.
    given
        What the configuration has under ``shards.<name>``.
    splits, panels
        Names of the splits and panels of the configuration.

    Raises
    ------
    ConfigError
        An option is unknown or does not fit; all faults, a sentence each.
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
        faults.append(f"{where}: a name has letters, digits and _ alone")
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
        faults.append("panel: needed for the expression; name one, or give target: none")
    if (options.split is None) != (not options.part):
        faults.append("split: a split and its part belong together; give both or neither")
    return faults


def _unknown(where: str, name: str, known: list[str], kind: str = "option") -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    meant = f"did you mean {close[0]}?" if close else f"known are {', '.join(known) or 'none'}"
    return (
        f"{where}: no such option; {meant}"
        if kind == "option"
        else f"{where} is none of the {kind}; {meant}"
    )
