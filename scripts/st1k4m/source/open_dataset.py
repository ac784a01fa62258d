"""Open a dataset: read its catalogue, or make it from where the dataset is."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from st1k4m.dataset import KINDS
from st1k4m.errors import CatalogueError
from st1k4m.source.catalogue import (
    CODES,
    DEMO,
    Catalogue,
    Slide,
    log,
    matches,
    parse_address,
    read,
    write,
)
from st1k4m.source.folder import from_folder


def resolve(dataset: str, workdir: str | os.PathLike) -> str:
    """Name the dataset in the one way that the catalogue's head uses.

    Parameters
    ----------
    dataset
        As the user typed it.
    workdir
        What a relative folder is relative to.

    Returns
    -------
    str
        ``demo``, the folder's real absolute path, or the hub address without a trailing slash.

    Raises
    ------
    CatalogueError
        It is none of the three.
    """
    if dataset == "demo":
        return dataset
    if "://" in dataset:
        parse_address(dataset)
        return dataset.rstrip("/")
    if not dataset or re.search(r"[\x00-\x1f\ud800-\udfff]", dataset):
        raise CatalogueError(
            f"dataset: {dataset!r} is no dataset; give 'demo', a folder in the dataset's layout, "
            "or hf://datasets/OWNER/NAME@REVISION"
        )
    return os.path.realpath(Path(workdir, Path(dataset).expanduser()))


def load(
    dataset: str,
    path: str | os.PathLike,
    refresh: bool = False,
    checksums: bool = False,
    tell: Callable[[str], None] = log.info,
) -> Catalogue:
    """Read the catalogue of ``dataset`` at ``path``; make it when it is not there yet.

    Parameters
    ----------
    dataset
        As the user typed it; a relative folder is relative to the current one.
    path
        The catalogue's file.
    refresh
        Make it anew even if it is there.
    checksums
        Read all files of a folder for their sha256. A hub tells those of its large files.
    tell
        Gets each line of `summary` when a catalogue was made.

    Raises
    ------
    CatalogueError
        The file is damaged or of another dataset, or the source gives none.
    """
    dataset = resolve(dataset, os.getcwd())
    if os.path.exists(path) and not refresh:
        catalogue = read(path)
        if not matches(dataset, catalogue):
            raise CatalogueError(
                f"{path} is the catalogue of {catalogue.dataset}, not of {dataset}: the products "
                "beside it are that dataset's. Work in another directory (--directory), or give "
                "refresh=true to make the catalogue anew here"
            )
        return catalogue
    if dataset == "demo":
        catalogue = from_demo(DEMO)
    elif dataset.startswith("hf://"):
        catalogue = from_hub(dataset)
    else:
        catalogue = from_folder(dataset, checksums)
    write(catalogue, path)
    for line in summary(catalogue):
        tell(line)
    return catalogue


def from_demo(folder: str | os.PathLike) -> Catalogue:
    """Make the catalogue of the demo, after generating it in ``folder`` if it is not there."""
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
    """Make the catalogue of a hub's dataset; see `st1k4m.source.hub.make_catalogue`."""
    from st1k4m.source import hub

    return hub.make_catalogue(address)


def summary(catalogue: Catalogue, shown: int = 5) -> list[str]:
    """Sum up the catalogue for a person: totals, then each kind of discrepancy with examples."""
    rows = catalogue.slides.values()
    revision = f" at {catalogue.revision}" if catalogue.revision else ""
    lines = [f"{catalogue.dataset}{revision}: {_totals(rows)}"]
    if catalogue.on_hub and not catalogue.dataset.endswith(f"@{catalogue.revision}"):
        repo, asked = parse_address(catalogue.dataset)
        lines.append(
            f"  {asked or 'no revision'} was asked for; to have this data again, pin it: "
            f"dataset=hf://datasets/{repo}@{catalogue.revision}"
        )
    lines += [
        f"  {tech}: {_totals([row for row in rows if row.tech == tech])}"
        for tech in sorted({row.tech for row in rows})
    ]
    for code, meaning in CODES.items():
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
