"""What a file is that should be comma-separated text in UTF-8, and is not."""

import codecs
from pathlib import Path

from st1k4m.errors import SlideError

_SEPARATORS = {";": "semicolons", "\t": "tabs"}
_HEAD = 1 << 16
"""Bytes that are looked at."""


def refuse_other_text(path: Path, slide: str) -> None:
    """Refuse a file in another encoding or with other separators; others may find other faults.

    Raises
    ------
    SlideError
        The file begins as UTF-16 does, or its first line has semicolons or tabs and no comma.
    OSError
        It cannot be read.
    """
    with path.open("rb") as file:
        if fault := name_other_text(file.read(_HEAD)):
            raise SlideError(
                slide,
                f"{path}, line 1: {fault}",
                "export the file again as comma-separated text in UTF-8",
            )


def name_other_text(head: bytes) -> str:
    """Say what the first bytes of a file show: an encoding, or separators; empty for neither."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and b"\0" in head:
        return "this is UTF-16, expected UTF-8"
    if head[:4:2] == b"\0\0" or head[1:4:2] == b"\0\0":
        return "every other byte is zero, as in UTF-16; expected UTF-8"
    first = head.decode("utf-8-sig", errors="replace").lstrip("\r\n").partition("\n")[0]
    for separator, name in _SEPARATORS.items():
        if separator in first and "," not in first:
            return f"the fields are separated by {name}, expected commas"
    return ""
