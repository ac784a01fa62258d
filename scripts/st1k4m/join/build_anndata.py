"""Join a slide's expression, spots and tiles to one AnnData; account for every spot; the record."""

import contextlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from st1k4m import codes
from st1k4m.expression.spot_names import read_spot_names
from st1k4m.formats.texts import read_index, read_texts
from st1k4m.geometry.spot_table import read_spots
from st1k4m.join.ledger import make_ledger, refuse_empty
from st1k4m.join.record import make_record, to_plain
from st1k4m.run.outputs import atomic, write_text
from st1k4m.run.provenance import KEY, Made
from st1k4m.tiles.store import StoreFacts, read_tiles

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


def build_anndata(
    expression: str | Path,
    spots: str | Path,
    tiles: str | Path,
    anndata: str | Path,
    ledger: str | Path,
    record: str | Path,
    *,
    slide: str,
    study: dict,
    parameters: dict,
    annotation: str | Path | None = None,
    made: Mapping[str, Made] | None = None,
) -> None:
    """Write a slide's AnnData, ledger and record.

    Parameters
    ----------
    expression
        What ``count_expression`` wrote.
    spots
        What ``align_spots`` wrote.
    tiles
        The tile store that ``cut_tiles`` wrote.
    anndata, ledger, record
        Where to write.
    slide
        Name of the slide.
    study
        What the catalogue says of it: technology, species, tissue, study, checksums of the files.
    parameters
        The options of each step, for the record.
    annotation
        The pathologist's labels, where the dataset has them.
    made
        By step, this one among them: what its product was made from. The record states all of it.

    Raises
    ------
    SlideError
        The annotation cannot be read, or no spot with counts has a place in the image.
    """
    table, geometry_facts = read_spots(spots)
    tile_store = read_tiles(tiles)
    names = read_spot_names(expression)
    account = make_ledger(slide, names, _read_dropped(expression), table, tile_store.dropped)
    refuse_empty(slide, names, account)
    labels = _read_labels(annotation)
    own = made["build_anndata"] if made else None
    with atomic(anndata, own) as whole, _expression_of_kept(expression, names, account, whole) as x:
        facts = make_record(
            slide, study, parameters, _read_facts(x), geometry_facts, tile_store, account
        )
        if made:
            facts[KEY] = {step: asdict(origin) for step, origin in made.items()}
        facts["annotation"] = _count_labels(account, labels)
        _tell_unmatched(labels, facts)
        _write_anndata(whole, x, slide, account, tile_store, geometry_facts, labels, facts)
    if own:
        account = account.replace_schema_metadata({KEY: own.text})
    with atomic(ledger) as whole:
        pq.write_table(account, whole, compression="zstd")
    write_text(record, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def _read_dropped(expression: str | Path) -> dict[str, str]:
    with h5py.File(expression) as file:
        dropped = file["uns/dropped"]
        return dict(zip(*(read_texts(dropped[name]) for name in ("spot", "reason")), strict=True))


def _read_facts(expression: str | Path) -> dict:
    from anndata.io import read_elem

    with h5py.File(expression) as file:
        facts = to_plain(read_elem(file["uns/facts"]))
        return facts | {"normalisation": to_plain(read_elem(file["uns/normalisation"]))}


def _read_labels(annotation: str | Path | None) -> dict[str, str]:
    if not annotation:
        return {}
    from st1k4m.join.annotation import read_annotation

    return read_annotation(annotation)


def _count_labels(account: pa.Table, labels: dict[str, str]) -> dict[str, list]:
    """Count the spots of the AnnData by label.

    Two lists and not a dict: a label is the dataset's text, and no key of an HDF5 group.
    """
    kept = account["spot"].filter(pc.equal(account["status"], codes.KEPT)).to_pylist()
    found = Counter(labels[spot] for spot in kept if spot in labels)
    return {"label": sorted(found), "spots": [found[label] for label in sorted(found)]}


def _tell_unmatched(labels: dict[str, str], record: dict) -> None:
    """Warn in the record of labels whose spot is not in the AnnData; flag it if none is."""
    found = sum(record["annotation"]["spots"])
    if found == len(labels):
        return
    warning = f"{len(labels) - found:,} of {len(labels):,} labels are of no spot in the AnnData"
    log.warning(warning)
    record["warnings"].append(warning)
    if not found:
        record["flags"] = sorted([*record["flags"], codes.ANNOTATION_UNMATCHED])


@contextlib.contextmanager
def _expression_of_kept(
    expression: str | Path, names: list[str], account: pa.Table, beside: Path
) -> Iterator[Path]:
    """Give the expression of exactly the spots that the ledger keeps.

    Usually that is the file as it is. Where spots have no place in the image, the rest is
    normalised without them, so that X, medians and variable genes are those of the AnnData's spots.
    """
    kept = set(account["spot"].filter(pc.equal(account["status"], codes.KEPT)).to_pylist())
    keep = np.array([spot in kept for spot in names], bool)
    if keep.all():
        yield Path(expression)
        return
    from st1k4m.expression.count_expression import subset_expression

    log.info("normalising again without %d spots that have no place in the image", (~keep).sum())
    subset = beside.with_name(beside.name.removesuffix(".tmp") + ".subset.tmp")
    try:
        subset_expression(expression, keep, subset)
        yield subset
    finally:
        subset.unlink(missing_ok=True)


def _write_anndata(
    path: Path,
    expression: Path,
    slide: str,
    account: pa.Table,
    tiles: StoreFacts,
    geometry: dict,
    labels: dict[str, str],
    record: dict,
) -> None:
    """Write the AnnData: the expression file as it is stored, and what is joined to it."""
    from anndata.io import write_elem

    shutil.copyfile(expression, path)
    with h5py.File(path, "r+") as file:
        spots, columns, spatial = _join_spots(file, account, tiles, record)
        if labels:
            columns["annotation"] = _categories([labels.get(spot) for spot in spots])
        obs = file["obs"]
        for name, values in columns.items():
            write_elem(obs, name, values)
        order = [*obs.attrs["column-order"], *columns]
        obs.attrs["column-order"] = np.array(order, dtype=h5py.string_dtype())
        write_elem(file["obsm"], "spatial", spatial)
        for part in ("options", "facts", "dropped"):
            del file["uns"][part]
        write_elem(file["uns"], "spatial", {slide: _spatial(tiles, geometry)})
        # what it was made from stands at the root of the file, as in all products
        stored = {key: value for key, value in record.items() if key != KEY}
        write_elem(file["uns"], "st1k4m", _storable(stored))


def _categories(labels: list[str | None]) -> "pd.Categorical":
    """Return labels as categories in sorted order; None is missing."""
    import pandas as pd

    known = sorted({label for label in labels if label is not None})
    return pd.Categorical(labels, pd.Index(known, dtype=object))


def _join_spots(
    file: h5py.File, account: pa.Table, tiles: StoreFacts, record: dict
) -> tuple[list[str], dict[str, np.ndarray], np.ndarray]:
    """Return the spots of the AnnData, its further columns of ``obs``, and x, y of shape (n, 2)."""
    spots = read_index(file["obs"]).tolist()
    place = {spot: row for row, spot in enumerate(account["spot"].to_pylist())}
    rows = np.array([place[spot] for spot in spots], np.int64)

    def of_spots(name: str) -> np.ndarray:
        return account[name].to_numpy()[rows]

    threshold = record["parameters"]["tiles"]["tissue_threshold"]
    columns = {
        "array_row": of_spots("array_row"),
        "array_col": of_spots("array_col"),
        "spot_radius": of_spots("r"),
        "tile": of_spots("tile"),
        "tile_inside": tiles.inside,
        "tissue_share": tiles.tissue,
        # NaN where the picture cannot tell: then nothing speaks against the spot
        "in_tissue": ~(tiles.tissue < threshold),
    }
    return spots, columns, np.stack([of_spots("x"), of_spots("y")], axis=1)


def _spatial(tiles: StoreFacts, geometry: dict) -> dict:
    """Lay pictures and scale factors out as 10x and scanpy do."""
    return {
        "images": tiles.pictures,
        "scalefactors": {
            "tissue_hires_scalef": tiles.facts["tissue_hires_scalef"],
            "tissue_lowres_scalef": tiles.facts["tissue_lowres_scalef"],
            "spot_diameter_fullres": geometry["spot_diameter_fullres"],
        },
        "metadata": {},
    }


def _storable(value):
    """Prepare the record for HDF5, which knows no None: what is not known is left out."""
    if isinstance(value, dict):
        return {key: _storable(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        numbers = value and all(isinstance(item, int | float) for item in value)
        return np.array(value) if numbers else np.array([str(item) for item in value], object)
    return value
