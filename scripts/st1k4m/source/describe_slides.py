"""Print what was recognised of each slide of the user's own: files, and what is missing."""

import json
import os

from st1k4m.source import catalogue
from st1k4m.source.own_layout import FACTS


def describe_slides(catalogue_path: str | os.PathLike) -> str:
    """Describe every slide of a catalogue that is not in the dataset's own layout."""
    lines = []
    for slide in catalogue.read(catalogue_path).slides.values():
        if slide.layout:
            lines += describe(slide.slide, slide.tech, json.loads(slide.layout))
    return "\n".join(lines or ["every slide is in the dataset's own layout"])


def describe(slide: str, tech: str, layout: dict) -> list[str]:
    """Return lines for the user: a slide's layout, the file of each kind, and what is missing.

    Parameters
    ----------
    slide, tech
        Name and technology.
    layout
        As in the catalogue: ``name``, and ``counts``, ``coord``, ``image``, ``missing`` and
        ``notes`` of `Recognised`.
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
