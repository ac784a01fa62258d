"""What a slide of one's own was recognised as: kept in the catalogue, used by its jobs."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from st1k4m.errors import SlideError
from st1k4m.run import outputs
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


def describe(slide: str, tech: str, layout: dict, reason: str = "") -> list[str]:
    """Say what a slide was recognised as, from which files each fact comes, and what is missing.

    Parameters
    ----------
    slide, tech
        Name and technology.
    layout
        What the catalogue keeps of it: ``name``, and ``counts``, ``coord``, ``image``, ``missing``
        and ``notes`` as `Recognised` has them.
    reason
        What the catalogue says is odd about the slide.
    """
    lines = [f"{slide}: {layout.get('name') or 'not recognised'} ({tech or 'unknown technology'})"]
    labels = {"counts": "counts", "coord": "positions", "image": "image"}
    for kind, label in labels.items():
        part = layout.get(kind, {})
        form = part.get("which") if kind == "image" else part.get("format")
        for role in sorted(set(part) - set(FACTS)):
            what = label if role in ("matrix", "positions", "image", kind) else f"{label}, {role}"
            lines.append(f"  {what} ({form}): {part[role]}")
        if "bin_um" in part:
            lines.append(f"  bins of {part['bin_um']} um")
        if "scale" in part:
            lines.append(f"  scale of the image, as the table states it: {part['scale']:g}")
    lines += [f"  {note}" for note in layout.get("notes", [])]
    missing = layout.get("missing", {})
    for sentence in dict.fromkeys(missing.values()):
        kinds = ", ".join(labels[kind] for kind in labels if missing.get(kind) == sentence)
        lines.append(f"  MISSING {kinds}: {sentence}")
    return lines


def require(slide: str, kind: str, path: str, layout: dict) -> str:
    """Return a slide's file of a kind if it and all that belongs to it is there.

    Parameters
    ----------
    slide
        Name of the slide.
    kind
        ``counts``, ``coord`` or ``image``.
    path
        The path or place of the file.
    layout
        As `st1k4m.source.catalogue.Catalogue.layout` gives it; empty for the dataset's own.

    Raises
    ------
    SlideError
        The file is missing, or the catalogue says that the slide's folder had none.
    """
    if not layout:
        labels = {"counts": "count file", "coord": "coordinate file", "image": "image"}
        return outputs.require(slide, labels[kind], path)
    if kind in layout["missing"]:
        raise SlideError(
            slide,
            layout["missing"][kind],
            "put the file there, or correct the table of slides, and run with refresh=true; or "
            "list the slide under exclude",
        )
    for place in files_of(layout[kind]):
        if not os.path.isfile(places.split(place)[0]):
            raise places.missing(slide, place)
    return path


def real_files(found: Iterable[str]) -> list[str]:
    """Return the real files that places are read from: of a member its outermost archive."""
    return list(dict.fromkeys(places.split(place)[0] for place in found))
