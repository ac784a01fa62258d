"""The catalogue of a user's own slides: from a table of slides or from a folder of HEST-1k."""

import csv
import hashlib
import json
import logging
import os
import re
from pathlib import Path

from st1k4m import codes
from st1k4m.dataset import check_name
from st1k4m.errors import CatalogueError
from st1k4m.run.text import one_line
from st1k4m.source import places
from st1k4m.source.catalogue import Catalogue, Slide
from st1k4m.source.own_layout import Recognised
from st1k4m.source.own_slides import recognise
from st1k4m.source.own_table import COLUMNS, read_table
from st1k4m.technologies import TECHNOLOGIES, TECHS

log = logging.getLogger(__name__)

#: HEST-1k's names of technologies in lower case: the names in the catalogue.
HEST_TECHS = {word: row.name for row in TECHNOLOGIES.values() for word in row.hest}
HEST_SPECIES = {"homo sapiens": "human", "mus musculus": "mouse"}


def is_table(dataset: str) -> bool:
    """Return whether a dataset's name is the name of a table of slides."""
    return dataset.lower().endswith((".tsv", ".txt"))


def table_revision(path: str | os.PathLike) -> str:
    """Return the revision of a table: the first 16 hexadecimal digits of its sha256."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def from_table(path: str | os.PathLike, checksums: bool = False) -> Catalogue:
    """Make the catalogue of a table of slides.

    It reads names, sizes and first bytes of the files below each slide's ``path``. The slide's row
    states what is missing; this fails only that slide.

    Parameters
    ----------
    path
        See `st1k4m.source.own_table.read_table`.
    checksums
        Read the files of counts, coordinates and image for their sha256.

    Raises
    ------
    CatalogueError
        The table is invalid.
    """
    path = os.path.realpath(path)
    slides = {}
    notes = [f"table of slides {path}"]
    for row in read_table(path):
        found = recognise(row)
        slides[row["slide"]] = _make_row(row, found, checksums)
        log.info("%s: %s", row["slide"], found.layout or "not recognised")
    return Catalogue(path, table_revision(path), dict(sorted(slides.items())), notes)


def _make_row(row: dict[str, str], found: Recognised, checksums: bool) -> Slide:
    made = Slide(row["slide"], found.tech, species=row["species"], tissue=row["tissue"])
    made.study, made.patient, made.block = row["study"], row["patient"], row["block"]
    if not found.tech and not found.missing:
        made.tech = ""
        found.missing["coord"] = "the files do not show the technology; give it in column tech"
    main = {"counts": ("matrix", "counts"), "coord": ("positions", "coord"), "image": ("image",)}
    for kind, roles in main.items():
        part = found.parts.get(kind, {})
        setattr(made, kind, next((part[role] for role in roles if role in part), ""))
        setattr(made, f"{kind}_bytes", found.bytes_of(kind))
        if checksums and part:
            setattr(made, f"{kind}_sha256", _sha256(found.files(kind)))
    layout = {"name": found.layout, **found.parts, "missing": found.missing, "notes": found.notes}
    made.layout = json.dumps(layout, sort_keys=True)
    reasons = list(dict.fromkeys(found.missing.values()))
    if reasons:
        made.status, made.reason = codes.MISSING_FILE, one_line("; ".join(reasons))
    return made


def _sha256(found: list[str]) -> str:
    """Return the sha256 of the concatenated contents of files."""
    digest = hashlib.sha256()
    for place in found:
        if os.path.isfile(places.split(place)[0]):
            with places.open_place(place, unzip=False) as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
    return digest.hexdigest()


def is_hest(folder: str) -> bool:
    """Return whether a folder looks like HEST-1k: it has ``st/*.h5ad``."""
    return os.path.isdir(os.path.join(folder, "st")) and any(
        name.endswith(".h5ad") for name in os.listdir(os.path.join(folder, "st"))
    )


def from_hest(folder: str | os.PathLike) -> Catalogue:
    """Make the catalogue of a folder of HEST-1k.

    The folder has ``st/{id}.h5ad``, ``wsis/{id}.tif`` and a metadata table: a CSV with the columns
    ``id``, ``st_technology``, ``species``, ``organ`` and others. Samples of other technologies
    (Xenium) are left out, and a note states their number.

    Raises
    ------
    CatalogueError
        There is no metadata table, it lacks a column, or there is no sample of ST, Visium or
        Visium HD.
    """
    folder = os.path.realpath(folder)
    table, rows = _read_hest_table(folder)
    slides: dict[str, Slide] = {}
    left_out: dict[str, int] = {}
    names = sorted(
        name[:-5] for name in os.listdir(os.path.join(folder, "st")) if name.endswith(".h5ad")
    )
    without = 0
    for name in names:
        if check_name(name):
            continue
        row = rows.get(name)
        if row is None:
            without += 1
            row = {}
        tech = HEST_TECHS.get(row.get("st_technology", "").strip().lower(), "")
        if row and not tech:
            kind = row.get("st_technology", "").strip() or "no technology"
            left_out[kind] = left_out.get(kind, 0) + 1
            continue
        slides[name] = _hest_slide(folder, name, tech, row)
    notes = [f"metadata table {table}"]
    notes += [f"{count} samples of {kind} are left out" for kind, count in sorted(left_out.items())]
    if without:
        notes.append(f"{without} samples have no row in {table}")
    if not slides:
        raise CatalogueError(
            f"{folder} has no sample of {', '.join(TECHS)}; download samples of these "
            "technologies, or give another dataset"
        )
    return Catalogue(folder, "", slides, notes)


def _read_hest_table(folder: str) -> tuple[str, dict[str, dict[str, str]]]:
    tables = sorted(name for name in os.listdir(folder) if re.search(r"\.csv$", name, re.I))
    for name in reversed(tables):  # the last name is the newest version
        with open(os.path.join(folder, name), encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if {"id", "st_technology"} <= set(reader.fieldnames or ()):
                return name, {row["id"]: row for row in reader}
    found = f" (not in {', '.join(tables)})" if tables else ""
    raise CatalogueError(
        f"{folder} looks like HEST-1k, but has no metadata table: a .csv with the columns id and "
        f"st_technology{found}; download it into this folder, next to st/ and wsis/"
    )


def _hest_slide(folder: str, name: str, tech: str, row: dict[str, str]) -> Slide:
    h5ad = os.path.join(folder, "st", f"{name}.h5ad")
    images = [os.path.join(folder, "wsis", f"{name}.{end}") for end in ("tif", "tiff")]
    image = next((path for path in images if os.path.isfile(path)), "")
    found = Recognised("hest", tech)
    found.parts = {
        "counts": {"format": "h5ad", "matrix": h5ad},
        "coord": {"format": "h5ad", "positions": h5ad},
    }
    found.sizes[h5ad] = os.path.getsize(h5ad)
    if image:
        found.parts["image"] = {"format": "image", "image": image, "which": "full"}
        found.sizes[image] = os.path.getsize(image)
    else:
        found.missing["image"] = f"there is no {images[0]}"
    species = row.get("species", "").strip()
    made = _make_row(
        dict.fromkeys(COLUMNS, "")
        | {
            "slide": name,
            "species": HEST_SPECIES.get(species.lower(), species.lower()),
            "tissue": row.get("organ", "").strip().lower(),
            "study": one_line(row.get("dataset_title", "").strip()),
            "patient": one_line(row.get("patient", "").strip()),
        },
        found,
        checksums=False,
    )
    made.title = one_line(row.get("dataset_title", "").strip())
    return made
