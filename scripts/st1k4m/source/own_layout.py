"""What a slide of one's own was recognised as: kept in the catalogue, used by its jobs."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from st1k4m.source import places

#: Keys of a part that are facts; all others are roles of files.
FACTS = ("format", "which", "bin_um", "scale")


@dataclass
class Recognised:
    """What a slide's folder was recognised as.

    Attributes
    ----------
    layout
        ``visium``, ``visium_hd``, ``st``, ``h5ad``, ``dataset``, or empty where nothing is known.
    tech
        The technology that follows from it; empty where nothing tells it.
    parts
        For ``counts``, ``coord`` and ``image``: ``format`` and the places of its files by role.
    missing
        A sentence for each of the three that was not found.
    notes
        Choices among several files, as sentences.
    """

    layout: str = ""
    tech: str = ""
    parts: dict[str, dict] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    def bytes_of(self, kind: str) -> int:
        """Return the bytes of all files of a kind."""
        return sum(self.sizes.get(place, 0) for place in self.files(kind))

    def files(self, kind: str) -> list[str]:
        """Return the places of all files of a kind."""
        return files_of(self.parts.get(kind, {}))


def files_of(part: dict) -> list[str]:
    """Return the places that a part of a slide is read from, in a fixed order."""
    return [part[role] for role in sorted(part) if role not in FACTS]


def all_missing(sentence: str) -> Recognised:
    """Return that nothing was found, for one reason."""
    return Recognised(missing=dict.fromkeys(("counts", "coord", "image"), sentence))


def real_files(found: Iterable[str]) -> list[str]:
    """Return the real files that places are read from: of a member its outermost archive."""
    return list(dict.fromkeys(places.split(place)[0] for place in found))
