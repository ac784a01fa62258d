"""Join a slide's expression, spots and tiles to one AnnData; write its ledger and record."""

import contextlib
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from st1k4m.formats.expression import read_dropped, read_facts, read_spot_names
from st1k4m.formats.ledger import Ledger, write_ledger
from st1k4m.formats.record import Record, write_record
from st1k4m.formats.slide_anndata import (
    HIRES_SCALE,
    LOWRES_SCALE,
    SpotColumns,
    complete,
)
from st1k4m.formats.spots import DIAMETER, read_spots
from st1k4m.formats.tile_store import StoreFacts, read_store_facts
from st1k4m.join.ledger import make_ledger, refuse_empty
from st1k4m.join.record import make_record
from st1k4m.run.outputs import atomic
from st1k4m.run.provenance import Made

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
        The expression file that ``count_expression`` wrote.
    spots
        The spots file that ``align_spots`` wrote.
    tiles
        The tile store that ``cut_tiles`` wrote.
    anndata, ledger, record
        The files to write.
    slide
        Name of the slide.
    study
        Data of the catalogue about the slide: technology, species, tissue, study, checksums of the
        files.
    parameters
        The options of each step, for the record.
    annotation
        File of the pathologist's labels; None if the dataset has none.
    made
        By step, including this one: what its product was made from. The record states all of it.

    Raises
    ------
    SlideError
        The annotation cannot be read, or no spot with counts is left.
    """
    table, geometry_facts = read_spots(spots)
    tile_store = read_store_facts(tiles)
    names = read_spot_names(expression)
    account = make_ledger(slide, names, read_dropped(expression), table, tile_store.dropped)
    refuse_empty(slide, names, account)
    labels = _read_labels(annotation)
    own = made["build_anndata"] if made else None
    with atomic(anndata, own) as whole, _expression_of_kept(expression, names, account, whole) as x:
        facts = make_record(
            slide,
            study,
            parameters,
            read_facts(x),
            geometry_facts,
            tile_store,
            account,
            labels,
            made,
        )
        _write_anndata(whole, x, slide, account, tile_store, geometry_facts, labels, facts)
    write_ledger(ledger, account, own)
    write_record(record, facts)


def _read_labels(annotation: str | Path | None) -> dict[str, str]:
    if not annotation:
        return {}
    from st1k4m.join.annotation import read_annotation

    return read_annotation(annotation)


@contextlib.contextmanager
def _expression_of_kept(
    expression: str | Path, names: list[str], account: Ledger, target: Path
) -> Iterator[Path]:
    """Yield the expression file of exactly the spots that the ledger keeps.

    Usually this is the file itself. If spots have no place in the image, the others are normalised
    again without them. X, medians and variable genes are then those of the AnnData's spots.
    """
    kept = set(account.kept)
    keep = np.array([spot in kept for spot in names], bool)
    if keep.all():
        yield Path(expression)
        return
    from st1k4m.expression.count_expression import subset_expression

    log.info("normalising again without %d spots that have no place in the image", (~keep).sum())
    subset = target.with_name(target.name.removesuffix(".tmp") + ".subset.tmp")
    try:
        subset_expression(expression, keep, subset)
        yield subset
    finally:
        subset.unlink(missing_ok=True)


def _write_anndata(
    path: Path,
    expression: Path,
    slide: str,
    account: Ledger,
    tiles: StoreFacts,
    geometry: dict,
    labels: dict[str, str],
    record: Record,
) -> None:
    """Write the AnnData: a copy of the expression file, with spots, tiles and record added."""
    shutil.copyfile(expression, path)
    spots = read_spot_names(path)
    place = {spot: row for row, spot in enumerate(account.spot)}
    rows = np.array([place[spot] for spot in spots], np.int64)
    columns = SpotColumns(
        array_row=account.array_row[rows],
        array_col=account.array_col[rows],
        spot_radius=account.r[rows],
        tile=account.tile[rows],
        tile_inside=tiles.inside,
        tissue_share=tiles.tissue,
        # the tissue share is NaN if tissue is unknown; the spot then counts as in tissue
        in_tissue=~(tiles.tissue < record.parameters["tiles"]["tissue_threshold"]),
    )
    scales = {
        **{name: tiles.facts[name] for name in (HIRES_SCALE, LOWRES_SCALE)},
        DIAMETER: geometry[DIAMETER],
    }
    complete(
        path,
        slide,
        columns,
        [labels.get(spot) for spot in spots] if labels else None,
        np.stack([account.x[rows], account.y[rows]], axis=1),
        tiles.pictures,
        scales,
        _storable(record.without_origins),
    )


def _storable(value):
    """Prepare the record for HDF5, which has no None: leave out unknown values."""
    if isinstance(value, dict):
        return {key: _storable(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        numbers = value and all(isinstance(item, int | float) for item in value)
        return np.array(value) if numbers else np.array([str(item) for item in value], object)
    return value
