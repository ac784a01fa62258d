"""The configuration: find all its faults at once, and return the options of a slide.

Snakemake imports this when it parses, so only the standard library, PyYAML and jsonschema are used.
"""

import contextlib
import csv
import difflib
import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonschema import Draft202012Validator

from st1k4m.errors import ConfigError
from st1k4m.technologies import TECHS

OVERRIDE_COLUMNS = ("slide", "swap", "scale", "flip", "shift_x", "shift_y")
LENGTHS = ("pitch_um", "spot_um", "drawn_um")
GEOMETRY_COLUMNS = ("applies_to", "lattice", *LENGTHS, "source")
#: Upper limit of a length in micrometres: no array is one metre wide.
LONGEST = 1e6
#: Kinds of lattice that an array can have; `geometry.lattice` describes each kind.
LATTICES = ("hexagonal", "square", "staggered")


def parse_texts(config: dict[str, Any], schema_path: str | Path) -> None:
    """Convert texts to numbers or truth values where the schema expects them.

    ``--config`` leaves nested values, and ``true``, as texts. This changes ``config``. A text that
    is not a value of the right type stays a text, and `check` reports it.
    """
    for error in list(_validator(schema_path).iter_errors(config)):
        if isinstance(error.instance, str) and error.absolute_path:
            *folder, key = error.absolute_path
            place: Any = config
            for part in folder:
                place = place[part]
            with contextlib.suppress(yaml.YAMLError):
                place[key] = yaml.safe_load(error.instance)


class Fault(NamedTuple):
    """A fault of the configuration: the top-level key, and a sentence that describes it."""

    key: str
    sentence: str


def check(config: dict[str, Any], schema_path: str | Path) -> list[Fault]:
    """Check a configuration against its schema.

    Parameters
    ----------
    config
        The whole configuration.
    schema_path
        The JSON schema, as YAML.

    Returns
    -------
    list of Fault
        Each states what was found and what is expected. Empty if the configuration is valid.
    """
    errors = _validator(schema_path).iter_errors(config)
    faults = [
        Fault(str(error.absolute_path[0]) if error.absolute_path else "", sentence)
        for error in sorted(errors, key=lambda error: [str(part) for part in error.path])
        for sentence in _sentences(error)
    ]
    named = config.get("technologies")
    unknown = [str(key) for key in named if key not in TECHS] if isinstance(named, dict) else []
    sentences = [_unknown_key("technologies", key, list(TECHS)) for key in unknown]
    return faults + [Fault("technologies", sentence) for sentence in sentences]


def options(config: dict[str, Any], section: str, tech: str) -> dict[str, Any]:
    """Return the options of a section by name; those of the technology replace the general ones."""
    return {**config[section], **config["technologies"].get(tech, {}).get(section, {})}


def read_table(path: str | Path, columns: Collection[str] = ()) -> list[dict[str, str]]:
    """Read a small tab-separated table of the configuration.

    Lines that are empty or start with ``#`` are skipped; the first other line is the header.

    Parameters
    ----------
    path
        The table.
    columns
        Names that the header must have.

    Returns
    -------
    list of dict
        One dict per line, by column name. Every value is text without surrounding space.

    Raises
    ------
    ConfigError
        The file is missing or is not UTF-8 text, lacks a column, or a line has another number of
        fields than the header.
    """
    return [row for _, row in _numbered_rows(path, columns)]


def read_geometry(path: str | Path) -> list[dict[str, str]]:
    """Read the table of arrays; see `read_table`.

    Raises
    ------
    ConfigError
        Also if a row cannot be used, see `array_faults`.
    """
    rows = _numbered_rows(path, GEOMETRY_COLUMNS)
    faults = [
        f"{path}, line {number}: {fault}" for number, row in rows for fault in array_faults(row)
    ]
    if faults:
        raise ConfigError("\n".join(faults))
    return [row for _, row in rows]


def array_faults(row: dict[str, str]) -> list[str]:
    """Return what is wrong with a row of the table of arrays; empty if it can be used."""
    faults = [
        f"{name} is {row[name]!r}, expected micrometres above 0 and below {LONGEST:g}"
        for name in LENGTHS
        if _length(row[name]) is None
    ]
    if row["lattice"] not in LATTICES:
        faults.append(f"lattice is {row['lattice']!r}, expected one of {', '.join(LATTICES)}")
    return faults


def read_overrides(path: str | Path, slides: Collection[str]) -> list[dict[str, str]]:
    """Read the table of overrides; see `read_table`.

    Parameters
    ----------
    path
        The table.
    slides
        The slides of the catalogue.

    Raises
    ------
    ConfigError
        Also if the slide of a row is not in the catalogue, or if a slide has two rows.
    """
    rows = _numbered_rows(path, OVERRIDE_COLUMNS)
    lines: dict[str, int] = {}
    faults = []
    for number, row in rows:
        slide = row["slide"]
        if slide in lines:
            faults.append(
                f"{path}, line {number}: slide {slide!r} is on line {lines[slide]} already; "
                "keep one of them"
            )
        elif slide not in slides:
            close = difflib.get_close_matches(slide, slides, n=3)
            meant = f"did you mean {' or '.join(close)}?" if close else "correct or remove the row"
            faults.append(
                f"{path}, line {number}: slide {slide!r} is not in the catalogue; {meant}"
            )
        lines.setdefault(slide, number)
    if faults:
        raise ConfigError("\n".join(faults))
    return [row for _, row in rows]


def rows_for(table: list[dict[str, str]], slide: str, tech: str) -> list[dict[str, str]]:
    """Return the rows of the geometry table that apply to a slide.

    A row applies to a technology, or to the slides whose names begin with its ``applies_to``. The
    rows with the longest matching beginning replace those of the technology.
    """
    studies = [
        row["applies_to"]
        for row in table
        if row["applies_to"] not in TECHS and slide.startswith(row["applies_to"])
    ]
    wanted = max(studies, key=len, default=tech)
    return [row for row in table if row["applies_to"] == wanted]


def digest(path: str | Path | None) -> str:
    """Return the SHA-256 of the tables at ``path``, a file or a folder; empty for None.

    Raises
    ------
    ConfigError
        The file or folder does not exist or cannot be read.
    """
    if path is None:
        return ""
    path = Path(path)
    found = hashlib.sha256()
    try:
        for file in sorted(path.glob("*.tsv")) if path.is_dir() else [path]:
            found.update(file.name.encode() + b"\0" + file.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"geometry.barcodes: {path} cannot be read ({error.strerror}); a relative path is "
            "relative to the working directory"
        ) from error
    return found.hexdigest()


def override_for(table: list[dict[str, str]], slide: str) -> dict[str, str]:
    """Return the row of the overrides for a slide; empty if there is none."""
    return next((row for row in table if row["slide"] == slide), {})


def _numbered_rows(path: str | Path, columns: Collection[str]) -> list[tuple[int, dict[str, str]]]:
    """Read a table; see `read_table`. Return each row with its line number, from 1."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from error
    header: list[str] = []
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            fields = [field.strip() for field in next(csv.reader([line], delimiter="\t"))]
        except csv.Error as error:
            raise ConfigError(f"{path}, line {number}: {error}") from error
        if not header:
            _refuse_lacking(f"{path}, line {number}", fields, columns)
            header = fields
        elif len(fields) == len(header):
            rows.append((number, dict(zip(header, fields, strict=True))))
        else:
            raise ConfigError(
                f"{path}, line {number}: {len(fields)} fields where the header has {len(header)}; "
                "fields are separated by one tab"
            )
    if not header:
        _refuse_lacking(str(path), header, columns)
    return rows


def _length(text: str) -> float | None:
    """Return the micrometres in ``text``; None if it is not a number in (0, `LONGEST`)."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < LONGEST else None


def _refuse_lacking(where: str, header: list[str], columns: Collection[str]) -> None:
    lacking = [name for name in columns if name not in header]
    if lacking:
        raise ConfigError(
            f"{where}: no column {', '.join(lacking)}; the header must have {', '.join(columns)}, "
            "separated by one tab"
        )


def _validator(schema_path: str | Path) -> Draft202012Validator:
    return Draft202012Validator(yaml.safe_load(Path(schema_path).read_text(encoding="utf-8")))


def _sentences(error: Any) -> list[str]:
    """Return sentences that describe one error of jsonschema: one per wrong key or value."""
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in known]
        return [_unknown_key(where, str(key), known) for key in unknown]
    if error.schema is False:
        return [f"{where}: cannot differ between technologies; set {where.split('.', 2)[2]}"]
    if error.validator == "required":
        return [error.message]
    expected = _expected(error.schema)
    about = error.schema.get("description")
    return [
        f"{where}: found {error.instance!r}, expected {expected}" + (f" ({about})" if about else "")
    ]


def _unknown_key(where: str, key: str, known: list[str]) -> str:
    prefix = f"{where}." if where else ""
    close = difflib.get_close_matches(key, known, n=1)
    meant = f"did you mean {prefix}{close[0]}?" if close else f"known are {', '.join(known)}"
    return f"{prefix}{key}: no such option; {meant}"


def _expected(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_expected(choice) for choice in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if "pattern" in schema:
        return "micrometres such as 112um"
    types = schema.get("type", "a value")
    names = types if isinstance(types, list) else [types]
    words = " or ".join("list" if name == "array" else name for name in names)
    bounds = [
        f"{text} {schema[key]}"
        for key, text in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("minLength", "of length at least"),
            ("minItems", "of length at least"),
            ("maxItems", "of length at most"),
        )
        if key in schema
    ]
    return " ".join([words, *bounds])
