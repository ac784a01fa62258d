"""The record of a slide, ``results/records/{slide}.json``: what is known of it, in plain values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from st1k4m.run.outputs import write_text
from st1k4m.run.provenance import KEY, Made


@dataclass(frozen=True)
class SpotTotals:
    """Numbers of spots: of either file, of both, in the AnnData, and dropped, by reason."""

    in_counts: int
    in_coord: int
    total: int
    kept: int
    dropped: dict[str, int]


@dataclass(frozen=True)
class Record:
    """What is known of a slide.

    A property raises KeyError where the record, of another version, does not have it.

    Attributes
    ----------
    content
        As the file has it.
    """

    content: dict[str, Any]

    @property
    def slide(self) -> str:
        """Its name."""
        return str(self.content["slide"])

    @property
    def study(self) -> dict[str, Any]:
        """What the catalogue says of it."""
        study: dict[str, Any] = self.content["study"]
        return study

    @property
    def tech(self) -> str:
        """Its technology, empty where unknown."""
        return str(self.study.get("tech") or "")

    @property
    def spots(self) -> SpotTotals:
        """Its numbers of spots."""
        known = self.content["spots"]
        return SpotTotals(**{field.name: known[field.name] for field in fields(SpotTotals)})

    @property
    def genes(self) -> int:
        """Genes of the AnnData."""
        return int(self.content["expression"]["genes"])

    @property
    def genes_in_file(self) -> int:
        """Genes of the count file."""
        return int(self.content["expression"]["genes_in_file"])

    @property
    def geometry(self) -> dict[str, Any]:
        """The facts of ``align_spots``, see `st1k4m.formats.spots.read_spots`."""
        geometry: dict[str, Any] = self.content["geometry"]
        return geometry

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image in pixels."""
        return self.geometry["width"], self.geometry["height"]

    @property
    def radius(self) -> float:
        """Radius of a spot, pixels of the image."""
        return float(self.geometry["radius"])

    @property
    def um_per_px(self) -> float | None:
        """Micrometres per pixel of the image; None where unknown."""
        known: float | None = self.geometry["um_per_px"]
        return known

    @property
    def um_per_px_xy(self) -> tuple[float, float] | None:
        """The same along x and along y, each with its own error; None where unknown."""
        known = self.geometry["um_per_px_xy"]
        return (float(known[0]), float(known[1])) if known else None

    @property
    def tier(self) -> str:
        """Class of its resolution."""
        return str(self.geometry["tier"])

    @property
    def positions(self) -> str:
        """What states the positions on the array."""
        return str(self.geometry["positions"])

    @property
    def rotation(self) -> float:
        """Degrees from x towards y in which the columns of the array increase."""
        return float(self.geometry["rotation"])

    @property
    def mirrored(self) -> bool:
        """Whether the array is seen from behind."""
        return bool(self.geometry["mirrored"])

    @property
    def correction(self) -> dict[str, Any] | None:
        """How the coordinates were turned or mirrored: by whom, why, and the fields of it."""
        correction: dict[str, Any] | None = self.geometry.get("correction")
        return correction

    @property
    def placement(self) -> dict[str, Any] | None:
        """How the spots lie on the tissue, see `st1k4m.geometry.placement.examine`."""
        placement: dict[str, Any] | None = self.content.get("placement")
        return placement

    @property
    def flags(self) -> list[str]:
        """Codes of what is odd about it."""
        return list(self.content["flags"])

    @property
    def warnings(self) -> list[str]:
        """What is odd about it, in sentences."""
        return list(self.content["warnings"])

    @property
    def annotation(self) -> dict[str, Any]:
        """Labels of the pathologist (``label``) and the spots that have each (``spots``)."""
        annotation: dict[str, Any] = self.content["annotation"]
        return annotation

    @property
    def parameters(self) -> dict[str, Any]:
        """The options of each step, by the section of the configuration."""
        parameters: dict[str, Any] = self.content["parameters"]
        return parameters

    @property
    def without_origins(self) -> dict[str, Any]:
        """All but what the slide's products were made from, which each of them carries itself."""
        return {key: value for key, value in self.content.items() if key != KEY}


def compose(
    *,
    slide: str,
    study: Mapping[str, Any],
    spots: SpotTotals,
    expression: Mapping[str, Any],
    geometry: Mapping[str, Any],
    tiles: Mapping[str, Any],
    placement: Mapping[str, Any] | None,
    flags: Sequence[str],
    warnings: Sequence[str],
    parameters: Mapping[str, Any],
    versions: Mapping[str, str],
    annotation: Mapping[str, int],
    made: Mapping[str, Made] | None = None,
) -> Record:
    """Make a record of its parts, all plain values; see the properties of `Record`.

    ``annotation`` gives the spots by label. ``made`` says by step what its product was made from.
    """
    content: dict[str, Any] = {
        "slide": slide,
        "study": study,
        "spots": asdict(spots),
        "expression": expression,
        "geometry": geometry,
        "tiles": tiles,
        "placement": placement,
        "flags": list(flags),
        "warnings": list(warnings),
        "parameters": parameters,
        "versions": versions,
    }
    if made:
        content[KEY] = {step: asdict(origin) for step, origin in made.items()}
    # Two lists and not a dict: a label is the dataset's text, and no key of an HDF5 group.
    content["annotation"] = {"label": list(annotation), "spots": list(annotation.values())}
    return Record(content)


def write_record(path: str | Path, record: Record) -> None:
    """Write a record, whole or not at all."""
    write_text(path, json.dumps(record.content, indent=1, ensure_ascii=False) + "\n")


def read_record(path: str | Path) -> Record:
    """Read a record.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or is damaged.
    """
    return Record(json.loads(Path(path).read_text(encoding="utf-8")))
