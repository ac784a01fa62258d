"""The recognised layout of a user's own slide: kept in the catalogue, used by the slide's jobs."""

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


def describe(slide: str, tech: str, layout: dict, reason: str = "") -> list[str]:
    """Return lines for the user: a slide's layout, the file of each kind, and what is missing.

    Parameters
    ----------
    slide, tech
        Name and technology.
    layout
        As in the catalogue: ``name``, and ``counts``, ``coord``, ``image``, ``missing`` and
        ``notes`` of `Recognised`.
    reason
        Not used.
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
    """Return ``path`` if all files of this kind exist.

    Parameters
    ----------
    slide
        Name of the slide.
    kind
        ``counts``, ``coord`` or ``image``.
    path
        The path or place of the file.
    layout
        See `st1k4m.source.catalogue.Catalogue.layout`; empty for the dataset's own layout.

    Raises
    ------
    SlideError
        A file is missing, or the catalogue states that the slide's folder had no such file.
    """
    if not layout:
        labels = {"counts": "count file", "coord": "coordinate file", "image": "image"}
        return outputs.require(slide, labels[kind], path)
    if kind in layout["missing"]:
        raise SlideError(
            slide,
            layout["missing"][kind],
            "add the file or correct the table of slides, and run with refresh=true; or list the "
            "slide under exclude",
        )
    for place in files_of(layout[kind]):
        if not os.path.isfile(places.split(place)[0]):
            raise places.missing(slide, place)
    return path


def real_files(found: Iterable[str]) -> list[str]:
    """Return the files on disk that contain the places: of an archive's member the archive."""
    return list(dict.fromkeys(places.split(place)[0] for place in found))
