"""Clean names of genes by stated rules, and read tables and lists of names."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from st1k4m.collection.panel_options import NameOptions
from st1k4m.errors import ConfigError

# Ensembl's stable gene ids: ENS, species, G, 11 digits, then the version. GENCODE adds _PAR_Y after
# the version for the copy on chromosome Y, which is another gene.
# https://www.ensembl.org/info/genome/stable_ids/index.html
_ENSEMBL = re.compile(r"(ENS[A-Z]{0,6}G\d{11})\.\d+(_PAR_Y)?")

# Cell Ranger's prefix of names in a reference of several genomes: the genome, then one to six
# underscores (mm10___Trp53, GRCh38_TP53, refdata's hg19_, GRCm39_).
_GENOME = re.compile(r"(?:GRC[a-z]?\d+|hg\d\d|mm\d\d?|rn\d|GRCz\d+|mRatBN\d[\d.]*)_{1,6}(?=.)")


def clean_name(printed: str, options: NameOptions, renames: Mapping[str, str]) -> str:
    """Return the clean name of a printed name; empty if the gene must be left out.

    The user's table has priority. The printed name is looked up first, then the name without prefix
    and version.
    """
    if printed in renames:
        return renames[printed]
    name = printed
    if options.drop_species:
        name = _GENOME.sub("", name, count=1) if _GENOME.match(name) else name
    if options.drop_version and (found := _ENSEMBL.fullmatch(name)):
        name = found[1] + (found[2] or "")
    return renames.get(name, name)


def read_renames(path: str | Path) -> dict[str, str]:
    """Read a table of names: tab-separated, a header row with ``printed`` and ``name``.

    Lines that start with ``#`` are skipped. An empty ``name`` leaves the gene out.

    Raises
    ------
    ConfigError
        The file cannot be read, lacks a column, or gives one printed name two names.
    """
    renames: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = (line for line in file if line.strip() and not line.startswith("#"))
            reader = csv.DictReader(lines, delimiter="\t")
            missing = {"printed", "name"} - set(reader.fieldnames or ())
            if missing:
                raise ConfigError(
                    f"{path}: the header row lacks {' and '.join(sorted(missing))}. It needs the "
                    "columns printed and name, separated by a tab"
                )
            for row in reader:
                printed, name = row["printed"].strip(), (row["name"] or "").strip()
                if renames.setdefault(printed, name) != name:
                    raise ConfigError(
                        f"{path}: {printed!r} has two names, {renames[printed]!r} and {name!r}; "
                        "keep one of these rows"
                    )
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the table of names cannot be read: {error}") from None
    return renames


def read_list(path: str | Path) -> list[str]:
    """Read the genes of a panel from a file.

    Parameters
    ----------
    path
        A text with one name per line; a tab-separated table with a column ``gene``, such as the
        table of a panel; or JSON: a list, or an object with the list ``genes`` (HEST-bench's
        ``var_50genes.json``). Lines that start with ``#`` are skipped.

    Raises
    ------
    ConfigError
        The file cannot be read, has no gene, or has a gene twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the list of genes cannot be read: {error}") from None
    genes = _parse_json(path, text) if text.lstrip()[:1] in ("{", "[") else _parse_lines(text)
    if not genes:
        raise ConfigError(f"{path}: the file has no gene; write one name per line")
    twice = sorted({gene for gene in genes if genes.count(gene) > 1}) if _repeats(genes) else []
    if twice:
        raise ConfigError(f"{path}: genes listed twice: {', '.join(twice[:10])}; list each once")
    return genes


def _repeats(names: Sequence[str]) -> bool:
    return len(set(names)) < len(names)


def _parse_json(path: str | Path, text: str) -> list[str]:
    import json

    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    genes = found.get("genes") if isinstance(found, dict) else found
    if not isinstance(genes, list) or not all(isinstance(gene, str) for gene in genes):
        raise ConfigError(f"{path}: expected a list of names, or an object with the list `genes`")
    return genes


def _parse_lines(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    header = lines[0].split("\t") if lines else []
    if "gene" not in header:
        return [line.strip() for line in lines]
    column = header.index("gene")
    return [line.split("\t")[column].strip() for line in lines[1:]]


def find_repeated(names: Iterable[str]) -> set[str]:
    """Return the names that occur more than once; empty names are ignored."""
    seen: set[str] = set()
    repeated: set[str] = set()
    for name in names:
        (repeated if name in seen else seen).add(name)
    return repeated - {""}
