"""Join a slide's expression, spots and tiles to one AnnData; account for every spot; the record."""

import contextlib
import importlib.metadata
import json
import logging
import math
import platform
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from st1k4m import __version__, h5ad, jobs
from st1k4m.errors import SlideError

log = logging.getLogger(__name__)

REASONS = (
    "no_counts",
    "no_coordinates",
    "no_genes",
    "few_genes",
    "few_counts",
    "high_mito",
    "outside_image",
    "partly_outside_image",
    "off_tissue",
)
"""Why a spot of either file is not in the AnnData."""

PACKAGES = ("anndata", "h5py", "numba", "numpy", "opencv-python-headless", "pyvips", "scipy")
"""Whose versions the record states: those that make numbers or pixels."""


@dataclass
class Tiles:
    """What a tile store says beside its pixels.

    Attributes
    ----------
    tissue
        Share of tissue in each tile's square, float32, in the store's order.
    inside
        Share of the square inside the image, float32, likewise.
    dropped
        Reason by id of the spots that ``cut_tiles`` was given and left out, for another reason
        than lying outside the image.
    pictures
        ``hires`` and ``lowres``, uint8 RGB.
    facts
        Of the step.
    """

    tissue: np.ndarray
    inside: np.ndarray
    dropped: dict[str, str]
    pictures: dict[str, np.ndarray]
    facts: dict


def read_spot_names(expression: str | Path) -> list[str]:
    """Read the ids of the spots in an AnnData file, in order, without the rest of it."""
    with h5py.File(expression) as file:
        obs = file["obs"]
        return obs[obs.attrs["_index"]].asstr()[:].tolist()


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

    Raises
    ------
    SlideError
        The annotation cannot be read, or no spot with counts has a place in the image.
    """
    from st1k4m import geometry

    table, geometry_facts = geometry.read_spots(spots)
    tile_store = _read_tiles(tiles)
    names = read_spot_names(expression)
    account = make_ledger(slide, names, _read_dropped(expression), table, tile_store.dropped)
    _refuse_empty(slide, names, account)
    labels = _read_labels(annotation)
    with jobs.atomic(anndata) as whole, _expression_of_kept(expression, names, account, whole) as x:
        facts = _make_record(
            slide, study, parameters, _read_facts(x), geometry_facts, tile_store, account
        )
        facts["annotation"] = _count_labels(account, labels)
        _tell_unmatched(labels, facts)
        _write_anndata(whole, x, slide, account, tile_store, geometry_facts, labels, facts)
    with jobs.atomic(ledger) as whole:
        pq.write_table(account, whole, compression="zstd")
    jobs.write_text(record, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def make_ledger(
    slide: str,
    in_expression: list[str],
    dropped_by_expression: dict[str, str],
    spots: pa.Table,
    dropped_by_tiles: dict[str, str],
) -> pa.Table:
    """Account for every spot of the count file and of the coordinate file, once.

    Parameters
    ----------
    slide
        Name of the slide.
    in_expression
        Ids that ``count_expression`` kept, in the order of the AnnData.
    dropped_by_expression
        The count file's other ids, each with its reason.
    spots
        The table of ``align_spots``.
    dropped_by_tiles
        Ids that ``cut_tiles`` left out, each with its reason.

    Returns
    -------
    pyarrow.Table
        Columns ``spot, barcode, in_counts, in_coord, x, y, r, array_row, array_col, tile, status,
        reason``: the coordinate file's spots in its order, then those that only have counts.
        ``tile`` is the row in the tile store, -1 for none; ``status`` is ``kept`` for the spots in
        the AnnData, else ``dropped`` with one of :data:`REASONS`.
    """
    coordinate_spots = spots["spot"].to_pylist()
    counted = {*in_expression, *dropped_by_expression}
    reasons = dict.fromkeys(coordinate_spots, "no_counts")
    reasons |= dropped_by_expression
    reasons |= dict.fromkeys(in_expression, "")
    for spot in spots["spot"].filter(spots["outside"]).to_pylist():
        reasons[spot] = reasons[spot] or "outside_image"
    reasons |= dropped_by_tiles
    kept = [spot for spot in in_expression if not reasons[spot]]
    tile = {spot: row for row, spot in enumerate(kept)}

    every = list(reasons)
    only_counted = len(every) - len(coordinate_spots)
    prefix = f"{slide}_"

    def with_counted(name: str, missing: float) -> pa.Array:
        values = spots[name].combine_chunks()
        return pa.concat_arrays([values, pa.array([missing] * only_counted, values.type)])

    return pa.table(
        {
            "spot": every,
            "barcode": [spot.removeprefix(prefix) for spot in every],
            "in_counts": [spot in counted for spot in every],
            "in_coord": [True] * len(coordinate_spots) + [False] * only_counted,
            "x": with_counted("x", math.nan),
            "y": with_counted("y", math.nan),
            "r": with_counted("r", math.nan),
            "array_row": with_counted("array_row", -1),
            "array_col": with_counted("array_col", -1),
            "tile": pa.array([tile.get(spot, -1) for spot in every], pa.int64()),
            "status": ["dropped" if why else "kept" for why in reasons.values()],
            "reason": list(reasons.values()),
        }
    )


def _refuse_empty(slide: str, in_expression: list[str], account: pa.Table) -> None:
    """Refuse a slide that has spots with counts, and none of them in the image."""
    reasons = Counter(account["reason"].to_pylist())
    if in_expression and not reasons[""]:
        told = ", ".join(f"{why} {reasons[why]:,}" for why in REASONS if reasons[why])
        raise SlideError(
            slide,
            f"none of the {len(in_expression):,} spots with counts is left ({told})",
            "check the coordinate file, or loosen tiles.edge, tiles.extent or "
            "tiles.drop_off_tissue",
        )


def _read_tiles(tiles: str | Path) -> Tiles:
    with h5py.File(tiles) as file:
        dropped = file["dropped"]
        return Tiles(
            tissue=file["tissue"][:],
            inside=file["inside"][:],
            dropped=dict(
                zip(dropped["spot"].asstr()[:], dropped["reason"].asstr()[:], strict=True)
            ),
            pictures={name: file["pictures"][name][:] for name in ("hires", "lowres")},
            facts=json.loads(file.attrs["facts"]),
        )


def _read_dropped(expression: str | Path) -> dict[str, str]:
    with h5py.File(expression) as file:
        dropped = file["uns/dropped"]
        return dict(zip(dropped["spot"].asstr()[:], dropped["reason"].asstr()[:], strict=True))


def _read_facts(expression: str | Path) -> dict:
    with h5py.File(expression) as file:
        return h5ad.read(file["uns/facts"]) | {
            "normalisation": h5ad.read(file["uns/normalisation"])
        }


def _read_labels(annotation: str | Path | None) -> dict[str, str]:
    if not annotation:
        return {}
    from st1k4m.annotation import read_annotation

    return read_annotation(annotation)


def _count_labels(account: pa.Table, labels: dict[str, str]) -> dict[str, list]:
    """Count the spots of the AnnData by label.

    Two lists and not a dict: a label is the dataset's text, and no key of an HDF5 group.
    """
    kept = account["spot"].filter(pc.equal(account["status"], "kept")).to_pylist()
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
        record["flags"] = sorted([*record["flags"], "annotation_unmatched"])


def _make_record(
    slide: str,
    study: dict,
    parameters: dict,
    expression: dict,
    geometry: dict,
    tiles: Tiles,
    account: pa.Table,
) -> dict:
    """Gather what is known of the slide: plain values only, nothing that differs between runs."""
    reasons = account["reason"].to_pylist()
    warnings = [*expression.pop("warnings", []), *geometry.get("warnings", [])]
    warnings += tiles.facts.pop("warnings", [])
    flags = [*geometry.get("flags", []), *tiles.facts.pop("flags", [])]
    return {
        "slide": slide,
        "study": study,
        "spots": {
            "in_counts": int(pc.sum(account["in_counts"]).as_py() or 0),
            "in_coord": int(pc.sum(account["in_coord"]).as_py() or 0),
            "total": len(reasons),
            "kept": reasons.count(""),
            "dropped": {why: reasons.count(why) for why in REASONS if why in reasons},
        },
        "expression": _plain(expression),
        "geometry": _plain(
            {key: value for key, value in geometry.items() if key not in ("warnings", "flags")}
        ),
        "tiles": _plain(tiles.facts),
        "flags": sorted(set(flags)),
        "warnings": [str(warning) for warning in warnings],
        "parameters": parameters,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version(), "workflow": __version__},
    }


def _plain(value):
    """Turn numpy's values into Python's, so that they are the same in JSON and in HDF5."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextlib.contextmanager
def _expression_of_kept(
    expression: str | Path, names: list[str], account: pa.Table, beside: Path
) -> Iterator[Path]:
    """Give the expression of exactly the spots that the ledger keeps.

    Usually that is the file as it is. Where spots have no place in the image, the rest is
    normalised without them, so that X, medians and variable genes are those of the AnnData's spots.
    """
    kept = set(account["spot"].filter(pc.equal(account["status"], "kept")).to_pylist())
    keep = np.array([spot in kept for spot in names], bool)
    if keep.all():
        yield Path(expression)
        return
    from st1k4m.expression import subset_expression

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
    tiles: Tiles,
    geometry: dict,
    labels: dict[str, str],
    record: dict,
) -> None:
    """Write the AnnData: the expression file as it is stored, and what is joined to it."""
    shutil.copyfile(expression, path)
    with h5py.File(path, "r+") as file:
        spots, columns, spatial = _join_spots(file, account, tiles, record)
        for name, values in columns.items():
            h5ad.add_column(file["obs"], name, values)
        if labels:
            h5ad.add_categories(file["obs"], "annotation", [labels.get(spot) for spot in spots])
        h5ad.write(file["obsm"], "spatial", spatial)
        for part in ("options", "facts", "dropped"):
            del file["uns"][part]
        h5ad.write(file["uns"], "spatial", {slide: _spatial(tiles, geometry)})
        h5ad.write(file["uns"], "st1k4m", _storable(record))


def _join_spots(
    file: h5py.File, account: pa.Table, tiles: Tiles, record: dict
) -> tuple[list[str], dict[str, np.ndarray], np.ndarray]:
    """Return the spots of the AnnData, its further columns of ``obs``, and x, y of shape (n, 2)."""
    spots = h5ad.read(file["obs/_index"])
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


def _spatial(tiles: Tiles, geometry: dict) -> dict:
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
