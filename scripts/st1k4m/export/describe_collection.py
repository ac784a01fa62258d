"""Describe the results as one dataset: a card for users and the hub, Croissant for programs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from st1k4m import __version__
from st1k4m.collection.tables import read_table
from st1k4m.export import card, croissant
from st1k4m.export.contents import (
    LICENCE_COLUMNS,
    Contents,
    Shards,
    Table,
    find_studies,
)
from st1k4m.export.hash_products import hash_file, list_files, read_sums, write_sums
from st1k4m.export.options import CardOptions
from st1k4m.run import outputs
from st1k4m.source import catalogue

CARDS = ("README.md", "collection/README.md")
"""Paths of the card; the hub reads the card at the top of the uploaded folder."""

CROISSANT, SUMS = "collection/croissant.json", "collection/SHA256SUMS"


def describe_collection(
    root: str | Path,
    catalogue_path: str | Path,
    licences: str | Path,
    hashed: Iterable[str | Path],
    others: Iterable[str | Path],
    *,
    splits: Mapping[str, str | Path],
    panels: Mapping[str, str | Path],
    shards: Mapping[str, str | Path],
    options: CardOptions,
) -> None:
    """Write `CARDS`, `CROISSANT`, `SUMS`, and the tables of slides and of splits as parquet.

    Parameters
    ----------
    root
        The folder of the results.
    catalogue_path
        The catalogue.
    licences
        The table of licences.
    hashed
        The checksums of each slide, written by ``hash_products``.
    others
        Products over all slides: files, and folders, which stand for all their files. They must
        include ``summary.json`` and ``collection/slides.tsv``.
    splits, panels
        Their tables, by name.
    shards
        The folders of shards, by name.
    options
        The configuration's ``card``.

    Raises
    ------
    ConfigError
        A table cannot be read, or a folder of shards has no shards.
    """
    root = Path(root)
    files = [file for sums in hashed for file in read_sums(sums)]
    files += [hash_file(root, path) for path in list_files([*others, *shards.values()])]
    contents = _gather(root, catalogue_path, licences, splits, panels, shards)
    for path, table in croissant.typed_tables(contents).items():
        with outputs.atomic(root / path) as whole:
            pq.write_table(table, whole, compression="zstd")
        files.append(hash_file(root, root / path))
    contents = replace(contents, files=sorted(files))
    text = card.make_card(contents, options)
    for path in CARDS:
        outputs.write_text(root / path, text)
    write_sums(root / SUMS, [*contents.files, *(hash_file(root, root / path) for path in CARDS)])
    described = croissant.make_croissant(
        contents, options, hash_file(root, root / SUMS), card.describe(contents)
    )
    outputs.write_text(root / CROISSANT, json.dumps(described, indent=1, ensure_ascii=False) + "\n")


def _gather(
    root: Path,
    catalogue_path: str | Path,
    licences: str | Path,
    splits: Mapping[str, str | Path],
    panels: Mapping[str, str | Path],
    shards: Mapping[str, str | Path],
) -> Contents:
    slides = Table.read(root, root / "collection/slides.tsv", ("slide", "study"))
    listed = catalogue.read(catalogue_path)
    _, known = read_table(licences, LICENCE_COLUMNS)
    return Contents(
        summary=json.loads((root / "summary.json").read_text(encoding="utf-8")),
        sources=listed.all_sources(),
        version=__version__,
        slides=slides,
        studies=find_studies(slides, listed.slides, known),
        splits={name: Table.read(root, path, ("slide", "part")) for name, path in splits.items()},
        panels={name: Table.read(root, path) for name, path in panels.items()},
        shards=[Shards.read(root, Path(path)) for path in shards.values()],
    )
