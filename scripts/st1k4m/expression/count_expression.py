"""The expression step: choose the spots, and write their counts, QC and normalised values."""

import contextlib
import csv
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from st1k4m import codes
from st1k4m.errors import SlideError
from st1k4m.expression.options import ExpressionOptions
from st1k4m.formats.expression import (
    BARCODE,
    COUNTS,
    DROPPED,
    FACTS,
    GENE_IDS,
    MITO,
    NORMALISATION,
    OPTIONS,
    PRINTED,
    REASON,
    SLIDE,
    SPOT,
    TARGET_SUM,
    TOTAL_COUNTS,
    read_counted,
    write_expression,
)
from st1k4m.run.outputs import atomic
from st1k4m.run.provenance import Made
from st1k4m.source.plain_text import refuse_other_text

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    from st1k4m.expression.dense_csv import Counts

log = logging.getLogger(__name__)

#: Where files in archives are unpacked temporarily, below the working directory.
UNPACKED = "work/unpacked"

TOP = (50, 100, 200, 500)
"""Numbers of genes for scanpy's ``pct_counts_in_top_<n>_genes``."""

SPOTS = 512
"""Spots whose counts are normalised at once."""


def count_expression(
    counts: str | Path,
    coord: str | Path,
    out: str | Path,
    *,
    slide: str,
    species: str,
    options: dict,
    threads: int = 1,
    layout: dict | None = None,
    made: Made | None = None,
) -> None:
    """Read the counts of a slide and write the expression of the kept spots.

    A spot is kept if it is in both files and passes the filters. Normalisation, QC of genes and
    variable genes are computed over the kept spots only.

    Parameters
    ----------
    counts, coord
        ``<slide>_count.csv`` and ``<slide>_coord.csv``. Only the ids of ``coord`` are used.
    out
        The expression file to write, see `st1k4m.formats.expression`: ``X`` float32 and
        ``layers['counts']`` int32, both CSR; QC in ``obs`` and ``var`` under scanpy's names;
        variable genes in ``var``; every other spot of the count file, with the reason; facts.
    slide
        Name of the slide.
    species
        The species as written in the meta table; it decides which genes are mitochondrial.
    options
        The arguments of `ExpressionOptions`.
    threads
        Number of threads that read the counts and compute. The result does not depend on it.
    layout
        The layout of the user's own slide, see `st1k4m.source.catalogue.Catalogue.layout`. Its
        parts ``counts`` and ``coord`` then state what is read, and spots that are not in tissue
        are dropped.
    made
        What the file is made from; stored in the file.

    Raises
    ------
    SlideError
        A file cannot be read; the two files have no spot in common; no spot in common passes the
        filters although some have counts; or no gene is in ``min_spots`` spots.
    """
    import anndata as ad

    from st1k4m.expression.mitochondria import find_mitochondrial

    chosen = ExpressionOptions.of_section(options)
    table, own_facts = _read_counts(counts, threads, slide, layout)
    log.info("%d spots, %d genes, %d non-zeros", *table.matrix.shape, table.matrix.nnz)
    located, off_tissue = _read_spots(slide, coord, layout)
    shared = np.array([spot in located for spot in table.spots], bool)
    if not shared.any():
        raise SlideError(
            slide,
            f"{Path(counts).name} ({len(shared):,} spots, the first is "
            f"{table.spots[0][:80]!r}) and {Path(coord).name} ({len(located):,}) "
            "have no spot in common",
            "check that both files belong to this slide and write the ids in the same way",
        )
    mitochondrial, rule = find_mitochondrial(table.genes, species)
    reasons = _judge_spots(table.matrix, mitochondrial, chosen)
    reasons[[spot in off_tissue for spot in table.spots]] = codes.NOT_IN_TISSUE
    reasons[~shared] = codes.NO_COORDINATES
    _refuse_overfiltered(slide, reasons)
    kept = reasons == ""
    facts = {
        "spots_in_file": len(kept),
        "genes_in_file": len(table.genes),
        "mitochondrial_rule": rule,
        "mitochondrial_genes": int(mitochondrial.sum()),
        **own_facts,
        "warnings": [
            *table.warnings,
            *_find_oddities(slide, table.spots, kept, mitochondrial, chosen),
        ],
    }
    for warning in facts["warnings"]:
        log.warning(warning)
    facts["warnings"] = np.array(facts["warnings"], object)
    if table.flags:
        facts["flags"] = np.array(table.flags, object)
    spots = np.array(table.spots, object)
    uns = {
        SLIDE: slide,
        OPTIONS: {key: value for key, value in asdict(chosen).items() if value is not None},
        FACTS: facts,
        DROPPED: {SPOT: spots[~kept], REASON: reasons[~kept]},
    }
    barcodes = [spot.removeprefix(f"{slide}_") for spot in table.spots]
    obs = _texts_table({BARCODE: barcodes}, spots).loc[kept]
    var = _texts_table(
        {PRINTED: table.genes} | ({GENE_IDS: table.gene_ids} if table.gene_ids else {}),
        np.arange(len(table.genes)).astype(str),
    ).assign(**{MITO: mitochondrial})
    # Drop every reference to the full matrix, so that it is freed before the rest is computed.
    matrix = table.matrix
    del table
    if not kept.all():
        matrix = matrix[kept]
    _write(out, ad.AnnData(matrix, obs=obs, var=var, uns=uns), chosen, threads, made)


def subset_expression(
    expression: str | Path, keep: np.ndarray, out: str | Path, *, threads: int = 1
) -> None:
    """Write an expression file again with only some of its spots.

    Everything is computed again over these spots. The numbers are the same as if
    `count_expression` had dropped the other spots.

    Parameters
    ----------
    expression
        The file that `count_expression` wrote.
    keep
        (spots,) bool, in the order of the file.
    out
        The file to write. Its list of dropped spots is copied from ``expression``.
    threads
        Number of threads that compute. The result does not depend on it.
    """
    table = read_counted(expression, keep)
    _write(out, table, ExpressionOptions(**table.uns[OPTIONS]), threads)


def _texts_table(columns: dict[str, Sequence[str]], index: Sequence[str]) -> "pd.DataFrame":
    """Make a table of texts as objects: pandas' string type needs anndata 0.12 to read."""
    import pandas as pd

    index = pd.Index(index, dtype=object)
    made = {name: pd.Series(list(v), index, dtype=object) for name, v in columns.items()}
    return pd.DataFrame(made, index)


def _read_counts(
    counts: str | Path, threads: int, slide: str, layout: dict | None
) -> tuple["Counts", dict]:
    """Read the counts, and, for the user's own slide, the facts about them for the record."""
    if layout:
        from st1k4m.expression.read_own import read_own_counts

        return read_own_counts(slide, layout["counts"], UNPACKED, threads)
    from st1k4m.expression.dense_csv import read_counts

    return read_counts(counts, threads), {}


def _read_spots(slide: str, coord: str | Path, layout: dict | None) -> tuple[set[str], set[str]]:
    """Read the ids of the spots with a position, and the ids of those that are not in tissue."""
    if not layout:
        return _read_ids(slide, Path(coord)), set()
    from st1k4m.source.positions import read_positions

    positions = read_positions(slide, layout["coord"])
    spots = np.array([f"{slide}_{barcode}" for barcode in positions.barcodes], object)
    return set(spots), set(spots[~positions.selected])


def _read_ids(slide: str, coord: Path) -> set[str]:
    """Read the first column of a coordinate file; `align_spots` checks the other columns."""
    try:
        with coord.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            refuse_other_text(coord, slide)
            rows = (row for row in csv.reader(file) if row)
            next(rows, None)
            return {row[0] for row in rows}
    except (FileNotFoundError, csv.Error) as error:
        raise SlideError(
            slide, f"{coord.name} cannot be read: {error}", "fetch it again"
        ) from error


def _judge_spots(
    matrix: "csr_matrix", mitochondrial: np.ndarray, options: ExpressionOptions
) -> np.ndarray:
    """Return the reason why each spot is dropped; an empty text if it passes the filters."""
    genes = np.diff(matrix.indptr)
    totals = np.ravel(matrix.sum(axis=1))
    of_mitochondrial = np.ravel(matrix[:, mitochondrial].sum(axis=1))
    reasons = np.full(len(genes), "", object)
    if options.max_pct_mito is not None and mitochondrial.any():
        reasons[of_mitochondrial > totals * options.max_pct_mito / 100] = codes.HIGH_MITO
    reasons[totals < options.min_counts] = codes.FEW_COUNTS
    reasons[genes < options.min_genes] = codes.FEW_GENES
    reasons[(genes == 0) & (reasons != "")] = codes.NO_GENES
    return reasons


def _refuse_overfiltered(slide: str, reasons: np.ndarray) -> None:
    """Raise if the filters leave no spot although some spots have counts."""
    often = Counter(reasons[reasons != codes.NO_COORDINATES])
    if "" in often or set(often) == {codes.NO_GENES}:
        return
    listed = ", ".join(f"{reason} {count:,}" for reason, count in sorted(often.items()))
    raise SlideError(
        slide,
        f"none of the {often.total():,} spots passes the filters ({listed})",
        "lower min_genes or min_counts, or raise max_pct_mito, for this technology",
    )


def _drop_genes(table: "AnnData", least: int) -> "AnnData":
    """Drop the genes found in fewer than ``least`` spots."""
    if not least or not table.n_obs:
        return table
    in_spots = np.bincount(table.X.indices, minlength=table.n_vars)
    if in_spots.max() < least:
        raise SlideError(
            table.uns[SLIDE],
            f"no gene is found in {least:,} spots",
            "lower min_spots for this slide",
        )
    return table[:, in_spots >= least].copy()


def _write(
    out: str | Path,
    table: "AnnData",
    options: ExpressionOptions,
    threads: int,
    made: Made | None = None,
) -> None:
    """Compute QC, variable genes and normalised values from the counts in ``X``; write the file."""
    table = _drop_genes(table, options.min_spots)
    with _threads(threads):
        _describe(table, options)
        _normalise(table, options.target_sum)
    with atomic(out, made) as whole:
        write_expression(whole, table, options.compression)


@contextlib.contextmanager
def _threads(threads: int) -> Iterator[None]:
    """Set the number of threads of numba, which scanpy uses, for the time of a block."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def _describe(table: "AnnData", options: ExpressionOptions) -> None:
    """Add the names of the genes, QC, variable genes and the facts of a table of counts."""
    import scanpy as sc

    from st1k4m.expression.variable_genes import find_variable_genes

    names, counts = table.var[PRINTED], table.X
    repeated = names.duplicated(keep=False).to_numpy()
    table.var.insert(1, "is_duplicate", repeated)
    with warnings.catch_warnings():  # of repeated names, and of names such as A-1 among them
        warnings.simplefilter("ignore", UserWarning)
        table.var_names = names.to_numpy(object)
        table.var_names_make_unique()
    # Means over no spots and fractions of no counts are NaN.
    with np.errstate(invalid="ignore", divide="ignore"):
        sc.pp.calculate_qc_metrics(
            table,
            qc_vars=[MITO],
            percent_top=[n for n in TOP if n <= table.n_vars] or None,
            inplace=True,
        )
    if not table.var[MITO].any():
        of_mitochondria = [name for name in table.obs if name.endswith(f"_{MITO}")]
        table.obs[of_mitochondria] = np.nan
    totals = table.obs[TOTAL_COUNTS].to_numpy()
    variable = find_variable_genes(
        counts,
        table.var[TOTAL_COUNTS].to_numpy(),
        totals,
        n_top_genes=options.n_top_genes,
        theta=options.theta,
    )
    for name, values in variable.items():
        table.var[name] = values
    table.uns["hvg"] = {
        "flavor": "pearson_residuals",
        "computed_on": "counts",
        "theta": options.theta,
        "n_top_genes": options.n_top_genes,
    }
    table.uns[FACTS] = table.uns[FACTS] | {
        "spots": table.n_obs,
        "genes": table.n_vars,
        "genes_without_counts": int((table.var[TOTAL_COUNTS] == 0).sum()),
        "genes_with_repeated_names": int(repeated.sum()),
        TOTAL_COUNTS: int(totals.sum()),
        "non_zeros": int(counts.nnz),
    }


def _normalise(table: "AnnData", asked: float | str) -> None:
    """Move the counts to their layer and set ``X`` to log1p of the counts scaled to ``asked``."""
    import anndata as ad
    import scanpy as sc
    from scipy.sparse import csr_matrix

    totals = table.obs[TOTAL_COUNTS].to_numpy()
    # The median is over spots with counts, in float32. scanpy 1.11 includes spots without counts.
    found = totals[totals > 0].astype(np.float32)
    target = asked if asked != "median" else float(np.median(found)) if len(found) else np.nan
    counts = table.X
    x = np.empty(counts.nnz, np.float32)
    # In blocks of spots: scanpy's copies of the whole matrix would be the job's peak of memory.
    for first in range(0, table.n_obs, SPOTS):
        part = ad.AnnData(counts[first : first + SPOTS].astype(np.float32))
        with warnings.catch_warnings():  # of spots without counts; min_genes decides about them
            warnings.filterwarnings("ignore", "Some cells have zero counts", UserWarning)
            sc.pp.normalize_total(part, target_sum=target)
        sc.pp.log1p(part)
        begin = counts.indptr[first]
        x[begin : begin + part.X.nnz] = part.X.data
    table.layers[COUNTS] = counts
    # Both matrices share the index arrays, in memory and in the file.
    table.X = csr_matrix((x, counts.indices, counts.indptr), shape=counts.shape)
    table.uns["log1p"] = {}  # scanpy's {"base": None} cannot be read before anndata 0.11
    table.uns[NORMALISATION] = {TARGET_SUM: target, "target": str(asked), "log1p": True}


def _find_oddities(
    slide: str,
    spots: list[str],
    kept: np.ndarray,
    mitochondrial: np.ndarray,
    options: ExpressionOptions,
) -> list[str]:
    """Return warnings about spot ids and filters, as sentences."""
    oddities = []
    strangers = [spot for spot in spots if not spot.startswith(f"{slide}_")]
    if strangers:
        oddities.append(
            f"{len(strangers):,} spot ids do not begin with {slide}_, the first is "
            f"{strangers[0][:80]!r}; they are kept as they are"
        )
    if options.max_pct_mito is not None and not mitochondrial.any():
        oddities.append("max_pct_mito has no effect: no mitochondrial genes are known")
    if not kept.any():
        oddities.append("no spot is left: all counts of the spots with coordinates are zero")
    return oddities
