"""The recognised layout of a user's own slide: kept in the catalogue, used by the slide's jobs."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from st1k4m.source import places

#: Keys of a part that are facts; all others are roles of files.
FACTS = ("format", "which", "bin_um", "scale")


@dataclass
class Recognised:
    """The recognised layout of a slide's folder.

    Attributes
    ----------
    layout
        ``visium``, ``visium_hd``, ``st``, ``h5ad``, ``dataset``, or empty if unknown.
    tech
        The technology that follows from the layout; empty if unknown.
    parts
        For ``counts``, ``coord`` and ``image``: ``format``, facts, and the places of files by role.
    missing
        A sentence for each of the three kinds that was not found.
    notes
        Choices among several files, as sentences.
    sizes
        Bytes of the files by place.
    """

    layout: str = ""
    tech: str = ""
    parts: dict[str, dict] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    def bytes_of(self, kind: str) -> int:
        """Return the total bytes of the files of a kind."""
        return sum(self.sizes.get(place, 0) for place in self.files(kind))

    def files(self, kind: str) -> list[str]:
        """Return the places of all files of a kind."""
        return files_of(self.parts.get(kind, {}))


def files_of(part: dict) -> list[str]:
    """Return the places of the files of a part, in a fixed order."""
    return [part[role] for role in sorted(part) if role not in FACTS]


def all_missing(sentence: str) -> Recognised:
    """Return a layout in which all kinds are missing for the same reason."""
    return Recognised(missing=dict.fromkeys(("counts", "coord", "image"), sentence))


def real_files(found: Iterable[str]) -> list[str]:
    """Return the files on disk that contain the places: of an archive's member the archive."""
    return list(dict.fromkeys(places.split(place)[0] for place in found))
