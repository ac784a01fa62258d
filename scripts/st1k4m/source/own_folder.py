"""Find the files of one slide's folder by their names and first bytes."""

import re

from st1k4m.source import places
from st1k4m.source.own_layout import Recognised

#: First bytes of image files.
IMAGE_MARKS = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: A count table's header and the start of its first row must be within so many bytes.
LONGEST_HEADER = 1 << 23
BIN = re.compile(r"square_0*(\d+)um")


class Folder:
    """The files of one slide's folder."""

    def __init__(self, root: str, prefix: str, found: dict[str, int]) -> None:
        self.root, self.prefix = root, prefix
        self.places = list(found)
        self._heads: dict[str, bytes] = {}

    def inner(self, place: str) -> str:
        """Return a place as a path relative to the folder."""
        return place[len(self.root) :].replace(places.INSIDE, "/").lstrip("/") or places.name_of(
            place
        )

    def head(self, place: str) -> bytes:
        """Return the first bytes of a file's content; empty if it cannot be read."""
        if place not in self._heads:
            try:
                self._heads[place] = places.first_bytes(place)
            except (OSError, ValueError):
                self._heads[place] = b""
        return self._heads[place]

    def text(self, place: str) -> list[str]:
        """Return the first lines of a text file; an empty list for a binary file."""
        head = self.head(place)
        if b"\0" in head:
            return []
        if len(head) == places.FIRST and head.count(b"\n") < 2:  # a header of thousands of genes
            head = places.first_bytes(place, LONGEST_HEADER)
        return head.decode("utf-8-sig", "replace").splitlines()

    def named(self, pattern: re.Pattern) -> list[str]:
        """Return the files whose names match, sorted by the depth of their folders."""
        found = [place for place in self.places if pattern.search(places.name_of(place))]
        return sorted(found, key=lambda place: (self.inner(place).count("/"), place))

    def first(self, pattern: re.Pattern, made: Recognised) -> str:
        """Return the first match in the folder of the positions, else the first match, or empty."""
        found = self.named(pattern)
        beside = made.parts.get("coord", {}).get("positions", "")
        near = [place for place in found if directory(place) == directory(beside)]
        return (near or found or [""])[0]

    def among(self) -> str:
        """Return the end of a message: the files that were searched."""
        begin = f" that begin with {self.prefix!r}" if self.prefix else ""
        return f"among the {len(self.places):,} files{begin} of {self.root}"


def directory(place: str) -> str:
    """Return the folder of a place."""
    return place.rpartition("/")[0]
