"""What the dataset calls things: kinds of files, names of slides."""

import re
from pathlib import Path

_NOT_IN_NAMES = r"\s/\\\x7b\x7d'\"`$*?<>|&;,=\x00-\x1f\x7f"
#: Pattern of a slide's name: a plain file name that is safe in paths, in shells and in Snakemake's
#: command lines (which split at commas). `+` and `.` occur in real names. The pattern is also a
#: wildcard constraint, which a brace would end; therefore \x7b and \x7d.
SLIDE_NAME = rf"[^{_NOT_IN_NAMES}.\-][^{_NOT_IN_NAMES}]*"
#: File systems allow 255 bytes for a name; this leaves room for suffixes.
LONGEST_NAME = 200

#: kind of file: (its folder in the dataset, what follows the slide's name)
KINDS = {
    "image": ("image", ".png"),
    "counts": ("gene_exp", "_count.csv"),
    "coord": ("coord", "_coord.csv"),
    "annotation": ("annotation", "_anno.csv"),
}
NAME = re.compile(SLIDE_NAME)


def check_name(slide: str) -> str:
    """Return the reason why ``slide`` cannot be a slide's name; empty if it can."""
    if not NAME.fullmatch(slide) or not slide.isprintable():
        return f"{slide[:80]!r} is not a plain file name"
    if len(slide.encode()) > LONGEST_NAME:
        return f"{slide[:40]!r}... is longer than {LONGEST_NAME} bytes"
    return ""


def slide_of(path: Path, kind: str) -> str:
    """Return the name of the slide to which a coordinate file belongs."""
    return path.name.removesuffix(KINDS[kind][1])
