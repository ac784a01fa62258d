"""What the dataset calls things: kinds of files, names of slides."""

import re
from pathlib import Path

_NOT_IN_NAMES = r"\s/\\\x7b\x7d'\"`$*?<>|&;,=\x00-\x1f\x7f"
#: What a slide may be called: a plain file name that survives paths, shells and the engine's
#: command lines (which split at commas). `+` and `.` occur in real names. It serves as wildcard
#: constraint too, where a brace would end the pattern: hence \x7b and \x7d.
SLIDE_NAME = rf"[^{_NOT_IN_NAMES}.\-][^{_NOT_IN_NAMES}]*"
#: Leaves room for suffixes within the 255 bytes that file systems give a name.
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
    """Say why ``slide`` cannot be a slide's name; empty when it can."""
    if not NAME.fullmatch(slide) or not slide.isprintable():
        return f"{slide[:80]!r} is no plain file name"
    if len(slide.encode()) > LONGEST_NAME:
        return f"{slide[:40]!r}... is longer than {LONGEST_NAME} bytes"
    return ""


def slide_of(path: Path, kind: str) -> str:
    """Return the slide that a file of a kind of `KINDS` belongs to, by its name."""
    return path.name.removesuffix(KINDS[kind][1])
