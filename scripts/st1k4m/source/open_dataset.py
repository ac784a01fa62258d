"""Open a dataset: read its catalogue, or make the catalogue from its sources."""

import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from st1k4m import codes
from st1k4m.dataset import KINDS
from st1k4m.errors import CatalogueError
from st1k4m.source.catalogue import (
    AND,
    DEMO,
    Catalogue,
    Slide,
    matches,
    parse_address,
    read,
    write,
)
from st1k4m.source.folder import from_folder
from st1k4m.source.own_catalogue import (
    from_hest,
    from_table,
    is_hest,
    is_table,
    table_revision,
)

log = logging.getLogger(__name__)


def resolve(dataset: str, workdir: str | os.PathLike) -> str:
    """Return the name of the dataset as the catalogue's head states it.

    Parameters
    ----------
    dataset
        As the user typed it.
    workdir
        Start of relative paths.

    Returns
    -------
    str
        ``demo``, the real absolute path of a folder or of a table of slides, or the hub address
        without a trailing slash.

    Raises
    ------
    CatalogueError
        It is none of these, or its path has braces.
    """
    if dataset == "demo":
        return dataset
    if "://" in dataset:
        parse_address(dataset)
        return dataset.rstrip("/")
    if not dataset or re.search(r"[\x00-\x1f\ud800-\udfff]", dataset):
        raise CatalogueError(
            f"dataset: {dataset!r} is not a dataset; give 'demo', a folder in the dataset's "
            "layout, hf://datasets/OWNER/NAME@REVISION, or a table of your own slides (.tsv)"
        )
    path = os.path.realpath(Path(workdir, Path(dataset).expanduser()))
    if set(path) & set("{}"):
        raise CatalogueError(
            f"dataset: {path} has braces, which Snakemake reads as wildcards; rename the folder"
        )
    return path


def load(
    dataset: str | list[str],
    path: str | os.PathLike,
    refresh: bool = False,
    checksums: bool = False,
    tell: Callable[[str], None] = log.info,
    overwrite: bool = True,
) -> Catalogue:
    """Read the catalogue of ``dataset`` at ``path``; make it if the file does not exist.

    Parameters
    ----------
    dataset
        As the user typed it, or a list of datasets; a relative path starts at the current folder.
    path
        The catalogue's file.
    refresh
        Make the catalogue again even if the file exists.
    checksums
        Read all files of a folder for their sha256. A hub states the sha256 of its large files.
    tell
        Called with each line of `summary` after a catalogue was made.
    overwrite
        Whether a refreshed catalogue is written. If not, the caller writes it when no other run
        reads the old one.

    Raises
    ------
    CatalogueError
        The file is damaged or belongs to another dataset, or the catalogue cannot be made.
    """
    asked = [dataset] if isinstance(dataset, str) else dataset
    datasets = [resolve(name, os.getcwd()) for name in asked]
    if os.path.exists(path) and not refresh:
        catalogue = read(path)
        if not matches(datasets, catalogue):
            raise CatalogueError(
                f"{path} is the catalogue of {catalogue.dataset}, not of {AND.join(datasets)}: the "
                "products in this directory are of that dataset. Work in another directory "
                "(--directory), or run with refresh=true to make the catalogue again here"
            )
        _refuse_changed_tables(catalogue)
        return catalogue
    catalogue = join_catalogues([_make(name, checksums) for name in datasets])
    if overwrite or not os.path.exists(path):
        write(catalogue, path)
    for line in summary(catalogue):
        tell(line)
    return catalogue


def _make(dataset: str, checksums: bool) -> Catalogue:
    """Make the catalogue of one source."""
    if dataset == "demo":
        return from_demo(DEMO)
    if dataset.startswith("hf://"):
        return from_hub(dataset)
    if is_table(dataset):
        return from_table(dataset, checksums)
    return from_hest(dataset) if is_hest(dataset) else from_folder(dataset, checksums)


def join_catalogues(catalogues: list[Catalogue]) -> Catalogue:
    """Join the catalogues of several sources into one.

    Raises
    ------
    CatalogueError
        Slides of two sources have the same name, or names that differ only in case.
    """
    if len(catalogues) == 1:
        return catalogues[0]
    slides: dict[str, Slide] = {}
    folded: dict[str, str] = {}
    faults = []
    for number, catalogue in enumerate(catalogues):
        for name, row in catalogue.slides.items():
            other = folded.get(name.lower())
            if other is not None and slides[other].source != number:
                first, second = catalogues[slides[other].source].dataset, catalogue.dataset
                faults.append(f"{name} is in {first} and in {second}")
                continue
            folded[name.lower()] = name
            slides[name] = replace(row, source=number)
    if faults:
        more = f"\n  and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise CatalogueError(
            "dataset: slides of two sources have the same name; give your own slides other names, "
            "or leave out one of the sources:\n  " + "\n  ".join(faults[:10]) + more
        )
    return Catalogue(
        AND.join(catalogue.dataset for catalogue in catalogues),
        AND.join(catalogue.revision for catalogue in catalogues),
        dict(sorted(slides.items())),
        [note for catalogue in catalogues for note in catalogue.notes],
        [(catalogue.dataset, catalogue.revision) for catalogue in catalogues],
    )


def _refuse_changed_tables(catalogue: Catalogue) -> None:
    """Raise CatalogueError if a table of slides has changed since the catalogue was made."""
    for name, revision in catalogue.all_sources():
        if is_table(name) and os.path.isfile(name) and table_revision(name) != revision:
            raise CatalogueError(
                f"{name} has changed since the catalogue was made; run once with refresh=true to "
                "read it again (slides whose row did not change are not built again)"
            )


def from_demo(folder: str | os.PathLike) -> Catalogue:
    """Make the catalogue of the demo; generate the demo first if ``folder`` does not exist."""
    from st1k4m.demo.dataset import make_demo

    if not os.path.exists(folder):
        beside = f"{folder}.part"
        shutil.rmtree(beside, ignore_errors=True)
        make_demo(beside)
        os.replace(beside, folder)
    catalogue = from_folder(folder)
    catalogue.dataset = "demo"
    return catalogue


def from_hub(address: str) -> Catalogue:
    """Make the catalogue of a dataset on the hub; see `st1k4m.source.hub.make_catalogue`."""
    from st1k4m.source import hub

    return hub.make_catalogue(address)


def summary(catalogue: Catalogue, shown: int = 5) -> list[str]:
    """Return lines for the user: totals, then each kind of discrepancy with examples."""
    rows = catalogue.slides.values()
    revision = f" at {catalogue.revision}" if catalogue.revision else ""
    lines = [f"{catalogue.dataset}{revision}: {_totals(rows)}"]
    for name, commit in catalogue.all_sources():
        if name.startswith("hf://") and not name.endswith(f"@{commit}"):
            repo, asked = parse_address(name)
            lines.append(
                f"  {asked or 'no revision'} was asked for; to get the same data again, give "
                f"dataset=hf://datasets/{repo}@{commit}"
            )
    lines += [
        f"  {tech}: {_totals([row for row in rows if row.tech == tech])}"
        for tech in sorted({row.tech for row in rows})
    ]
    for code, meaning in codes.CONTRADICTIONS.items():
        odd = [row for row in rows if row.status == code]
        if odd:
            more = f"; and {len(odd) - shown} more" if len(odd) > shown else ""
            which = "; ".join(f"{row.slide} ({row.reason})" for row in odd[:shown])
            lines.append(f"  {len(odd)} {code} ({meaning}): {which}{more}")
    return lines + [f"  {note}" for note in catalogue.notes]


def _totals(rows: Iterable[Slide]) -> str:
    kinds = Counter()
    for row in rows:
        kinds.update({kind: bool(getattr(row, kind)) for kind in KINDS})
    size = sum(getattr(row, f"{kind}_bytes") for row in rows for kind in KINDS)
    files = ", ".join(f"{kinds[kind]:,} {kind}" for kind in KINDS)
    return (
        f"{len(rows):,} slides, {sum(row.spots for row in rows):,} spots declared; "
        f"{files}; {size / 1e9:,.1f} GB"
    )
