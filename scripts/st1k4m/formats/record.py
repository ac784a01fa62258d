"""The record of a slide, ``results/records/{slide}.json``: its facts, as plain values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from st1k4m.run.outputs import write_text
from st1k4m.run.provenance import KEY, Made


@dataclass(frozen=True)
class SpotTotals:
    """Numbers of spots: in the count file, in the coordinate file, in all, kept, and dropped.

    ``total`` counts each spot of the two files once; ``dropped`` gives numbers by reason.
    """

    in_counts: int
    in_coord: int
    total: int
    kept: int
    dropped: dict[str, int]


@dataclass(frozen=True)
class Record:
    """The record of a slide.

    A property raises KeyError if a record of another version does not have it.

    Attributes
    ----------
    content
        The content of the JSON file.
    """

    content: dict[str, Any]

    @property
    def slide(self) -> str:
        """Name of the slide."""
        return str(self.content["slide"])

    @property
    def study(self) -> dict[str, Any]:
        """Data of the catalogue about the slide."""
        study: dict[str, Any] = self.content["study"]
        return study

    @property
    def tech(self) -> str:
        """Technology of the slide, empty if unknown."""
        return str(self.study.get("tech") or "")

    @property
    def spots(self) -> SpotTotals:
        """Numbers of spots."""
        known = self.content["spots"]
        return SpotTotals(**{field.name: known[field.name] for field in fields(SpotTotals)})

    @property
    def genes(self) -> int:
        """Number of genes in the AnnData."""
        return int(self.content["expression"]["genes"])

    @property
    def genes_in_file(self) -> int:
        """Number of genes in the count file."""
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
        """Micrometres per pixel of the image; None if unknown."""
        known: float | None = self.geometry["um_per_px"]
        return known

    @property
    def um_per_px_xy(self) -> tuple[float, float] | None:
        """Micrometres per pixel along x and along y; None if unknown."""
        known = self.geometry["um_per_px_xy"]
        return (float(known[0]), float(known[1])) if known else None

    @property
    def tier(self) -> str:
        """Class of the image's resolution: high, medium, low or unknown."""
        return str(self.geometry["tier"])

    @property
    def positions(self) -> str:
        """Source of the positions on the array: ids, barcodes, centres or unknown."""
        return str(self.geometry["positions"])

    @property
    def rotation(self) -> float:
        """Direction in which the array's columns increase, degrees from x towards y."""
        return float(self.geometry["rotation"])

    @property
    def mirrored(self) -> bool:
        """Whether the array's rows increase anticlockwise of its columns in the image."""
        return bool(self.geometry["mirrored"])

    @property
    def correction(self) -> dict[str, Any] | None:
        """The applied correction of coordinates, its origin (``by``) and its reason (``why``)."""
        correction: dict[str, Any] | None = self.geometry.get("correction")
        return correction

    @property
    def placement(self) -> dict[str, Any] | None:
        """Fit of spots and tissue, see `st1k4m.geometry.placement.examine`."""
        placement: dict[str, Any] | None = self.content.get("placement")
        return placement

    @property
    def flags(self) -> list[str]:
        """Codes of the slide's problems, see `st1k4m.codes.FLAGS`."""
        return list(self.content["flags"])

    @property
    def warnings(self) -> list[str]:
        """The slide's problems, as sentences."""
        return list(self.content["warnings"])

    @property
    def annotation(self) -> dict[str, Any]:
        """Labels of the pathologist (``label``) and the number of spots of each (``spots``)."""
        annotation: dict[str, Any] = self.content["annotation"]
        return annotation

    @property
    def parameters(self) -> dict[str, Any]:
        """The options of each step, by the section of the configuration."""
        parameters: dict[str, Any] = self.content["parameters"]
        return parameters

    @property
    def without_origins(self) -> dict[str, Any]:
        """The content without the origins of the slide's products; each product has its own."""
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
    """Make a record from its parts, all plain values; see the properties of `Record`.

    ``annotation`` gives the number of spots by label. ``made`` states for each step what its
    product was made from.
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
    # Two lists instead of a dict, because a label of the dataset may not be a valid HDF5 name.
    content["annotation"] = {"label": list(annotation), "spots": list(annotation.values())}
    return Record(content)


def write_record(path: str | Path, record: Record) -> None:
    """Write a record in one atomic step."""
    write_text(path, json.dumps(record.content, indent=1, ensure_ascii=False) + "\n")


def read_record(path: str | Path) -> Record:
    """Read a record.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or is damaged.
    """
    return Record(json.loads(Path(path).read_text(encoding="utf-8")))
