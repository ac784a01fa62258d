"""The expression step: which spots count, and the AnnData file with all that follows from them."""

import contextlib
import csv
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from st1k4m.errors import SlideError
from st1k4m.run.outputs import atomic
from st1k4m.run.provenance import Made
from st1k4m.source.plain_text import refuse_other_text

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    from st1k4m.expression.dense_csv import Counts

log = logging.getLogger(__name__)

#: Where files in archives are unpacked for a moment, below the working directory.
UNPACKED = "work/unpacked"

TOP = (50, 100, 200, 500)
"""Numbers of genes for scanpy's ``pct_counts_in_top_<n>_genes``."""

SPOTS = 512
"""Spots whose counts are normalised at once."""

CHUNK = 1 << 18
"""Entries of a matrix that are stored, and compressed, as one piece."""

COMPRESSIONS = {
    "none": {},
    "lzf": {"compression": "lzf"},
    "gzip": {"compression": "gzip", "compression_opts": 1},
}
"""Filters by the name of the option. h5py reads them all, other HDF5 programs none and gzip."""


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
    """Read the counts of a slide and write the expression of the spots that count.

    These are the spots that are in both files and pass the filters. Normalisation, QC of genes and
    variable genes are over exactly these.

    Parameters
    ----------
    counts, coord
        ``<slide>_count.csv`` and ``<slide>_coord.csv``; of the latter only the ids are used.
    out
        The AnnData file to write: ``X`` float32 and ``layers['counts']`` int32, both CSR; QC in
        ``obs`` and ``var`` under scanpy's names; variable genes in ``var``; ``uns['dropped']``:
        every other spot of the count file, with the reason; ``uns['facts']``.
    slide
        Name of the slide.
    species
        As in the meta table; decides which genes are mitochondrial.
    options
        ``min_genes``, ``min_counts``: a spot with less is dropped. ``max_pct_mito``: a spot with
        more is dropped; None for no limit. ``min_spots``: a gene found in fewer spots is dropped.
        ``target_sum``: total that each spot's counts are normalised to, ``"median"`` for the median
        over the spots. ``n_top_genes``, ``theta``: variable genes, by Pearson residuals.
        ``compression``: a name of `COMPRESSIONS`.
    threads
        Threads that read the counts and compute; the result does not depend on it.
    layout
        Of a slide of one's own, see `st1k4m.source.catalogue.Catalogue.layout`; its parts
        ``counts`` and ``coord`` then say what is read, and spots not in tissue are dropped.
    made
        What the file is made from; it carries that.

    Raises
    ------
    SlideError
        A file cannot be read; the two have no spot in common; none of those in common passes the
        filters though some have counts.
    """
    import anndata as ad

    from st1k4m.expression.mitochondria import find_mitochondrial

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
    reasons = _judge_spots(table.matrix, mitochondrial, options)
    reasons[[spot in off_tissue for spot in table.spots]] = "not_in_tissue"
    reasons[~shared] = "no_coordinates"
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
            *_find_oddities(slide, table.spots, kept, mitochondrial, options),
        ],
    }
    for warning in facts["warnings"]:
        log.warning(warning)
    facts["warnings"] = np.array(facts["warnings"], object)
    if table.flags:
        facts["flags"] = np.array(table.flags, object)
    spots = np.array(table.spots, object)
    uns = {
        "slide": slide,
        "options": {key: value for key, value in options.items() if value is not None},
        "facts": facts,
        "dropped": {"spot": spots[~kept], "reason": reasons[~kept]},
    }
    barcodes = [spot.removeprefix(f"{slide}_") for spot in table.spots]
    obs = _texts_table({"barcode": barcodes}, spots).loc[kept]
    var = _texts_table(
        {"name": table.genes} | ({"gene_ids": table.gene_ids} if table.gene_ids else {}),
        np.arange(len(table.genes)).astype(str),
    ).assign(mt=mitochondrial)
    # No name holds on to the counts of all spots while all else is computed from those of the kept.
    matrix = table.matrix
    del table
    if not kept.all():
        matrix = matrix[kept]
    _write(out, ad.AnnData(matrix, obs=obs, var=var, uns=uns), threads, made)


def subset_expression(
    expression: str | Path, keep: np.ndarray, out: str | Path, *, threads: int = 1
) -> None:
    """Write an expression file again without some of its spots.

    Everything is computed over the rest, so the numbers are those that `count_expression` would
    have written without these spots.

    Parameters
    ----------
    expression
        What `count_expression` wrote.
    keep
        (spots,) bool, by the order of the file.
    out
        Where to write. ``uns['dropped']`` stays what it was.
    threads
        Threads that compute; the result does not depend on it.
    """
    import anndata as ad
    import h5py
    from anndata.io import read_elem

    with h5py.File(expression) as file:
        obs, var, uns = (read_elem(file[part]) for part in ("obs", "var", "uns"))
        matrix = read_elem(file["layers/counts"])[keep]
    var = var[[name for name in ("name", "gene_ids", "mt") if name in var]]
    var.index = np.arange(len(var)).astype(str)
    uns = {name: uns[name] for name in ("slide", "options", "facts", "dropped")}
    table = ad.AnnData(matrix, obs=obs.loc[keep, ["barcode"]], var=var, uns=uns)
    del matrix
    _write(out, table, threads)


def _texts_table(columns: dict[str, Sequence[str]], index: Sequence[str]) -> "pd.DataFrame":
    """Make a table of texts as objects: pandas' own type of texts needs anndata 0.12 to read."""
    import pandas as pd

    index = pd.Index(index, dtype=object)
    made = {name: pd.Series(list(v), index, dtype=object) for name, v in columns.items()}
    return pd.DataFrame(made, index)


def _read_counts(
    counts: str | Path, threads: int, slide: str, layout: dict | None
) -> tuple["Counts", dict]:
    """Read the counts, and what a slide of one's own says of them for the record."""
    if layout:
        from st1k4m.expression.read_own import read_own_counts

        return read_own_counts(slide, layout["counts"], UNPACKED, threads)
    from st1k4m.expression.dense_csv import read_counts

    return read_counts(counts, threads), {}


def _read_spots(slide: str, coord: str | Path, layout: dict | None) -> tuple[set[str], set[str]]:
    """Read the ids of the spots with a position, and of those said to be beside the tissue."""
    if not layout:
        return _read_ids(slide, Path(coord)), set()
    from st1k4m.source.positions import read_positions

    positions = read_positions(slide, layout["coord"])
    spots = np.array([f"{slide}_{barcode}" for barcode in positions.barcodes], object)
    return set(spots), set(spots[~positions.selected])


def _read_ids(slide: str, coord: Path) -> set[str]:
    """Read the first column of a coordinate file; `align_spots` sees to the rest of it."""
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


def _judge_spots(matrix: "csr_matrix", mitochondrial: np.ndarray, options: dict) -> np.ndarray:
    """Return why each spot is dropped, an empty text for those that pass the filters."""
    genes = np.diff(matrix.indptr)
    totals = np.ravel(matrix.sum(axis=1))
    of_mitochondrial = np.ravel(matrix[:, mitochondrial].sum(axis=1))
    reasons = np.full(len(genes), "", object)
    if options["max_pct_mito"] is not None and mitochondrial.any():
        reasons[of_mitochondrial > totals * options["max_pct_mito"] / 100] = "high_mito"
    reasons[totals < options["min_counts"]] = "few_counts"
    reasons[genes < options["min_genes"]] = "few_genes"
    reasons[(genes == 0) & (reasons != "")] = "no_genes"
    return reasons


def _refuse_overfiltered(slide: str, reasons: np.ndarray) -> None:
    """Refuse filters that leave no spot though some have counts."""
    often = Counter(reasons[reasons != "no_coordinates"])
    if "" in often or set(often) == {"no_genes"}:
        return
    told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(often.items()))
    raise SlideError(
        slide,
        f"none of the {often.total():,} spots passes the filters ({told})",
        "lower min_genes or min_counts, or raise max_pct_mito, for this technology",
    )


def _drop_genes(table: "AnnData") -> "AnnData":
    """Drop the genes found in fewer spots than ``min_spots``."""
    least = table.uns["options"]["min_spots"]
    if not least or not table.n_obs:
        return table
    in_spots = np.bincount(table.X.indices, minlength=table.n_vars)
    if in_spots.max() < least:
        raise SlideError(
            table.uns["slide"],
            f"no gene is found in {least:,} spots",
            "lower min_spots for this slide",
        )
    return table[:, in_spots >= least].copy()


def _write(out: str | Path, table: "AnnData", threads: int, made: Made | None = None) -> None:
    """Compute all that follows from the counts in ``X`` and write the file."""
    table = _drop_genes(table)
    with _threads(threads):
        _describe(table)
        _normalise(table)
    with atomic(out, made) as whole:
        write_expression(whole, table, table.uns["options"]["compression"])


@contextlib.contextmanager
def _threads(threads: int) -> Iterator[None]:
    """Let scanpy's loops use so many threads."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def _describe(table: "AnnData") -> None:
    """Add the names of the genes, QC, variable genes and the facts of a table of counts."""
    import scanpy as sc

    from st1k4m.expression.variable_genes import find_variable_genes

    names, counts = table.var["name"], table.X
    repeated = names.duplicated(keep=False).to_numpy()
    table.var.insert(1, "is_duplicate", repeated)
    with warnings.catch_warnings():  # that names are repeated, and that A-1 is one of them
        warnings.simplefilter("ignore", UserWarning)
        table.var_names = names.to_numpy(object)
        table.var_names_make_unique()
    # Without spots a mean is unknown, without counts a share.
    with np.errstate(invalid="ignore", divide="ignore"):
        sc.pp.calculate_qc_metrics(
            table,
            qc_vars=["mt"],
            percent_top=[n for n in TOP if n <= table.n_vars] or None,
            inplace=True,
        )
    if not table.var["mt"].any():
        of_mitochondria = [name for name in table.obs if name.endswith("_mt")]
        table.obs[of_mitochondria] = np.nan
    totals = table.obs["total_counts"].to_numpy()
    options = table.uns["options"]
    variable = find_variable_genes(
        counts,
        table.var["total_counts"].to_numpy(),
        totals,
        n_top_genes=options["n_top_genes"],
        theta=options["theta"],
    )
    for name, values in variable.items():
        table.var[name] = values
    table.uns["hvg"] = {
        "flavor": "pearson_residuals",
        "computed_on": "counts",
        "theta": options["theta"],
        "n_top_genes": options["n_top_genes"],
    }
    table.uns["facts"] = table.uns["facts"] | {
        "spots": table.n_obs,
        "genes": table.n_vars,
        "genes_without_counts": int((table.var["total_counts"] == 0).sum()),
        "genes_with_repeated_names": int(repeated.sum()),
        "total_counts": int(totals.sum()),
        "non_zeros": int(counts.nnz),
    }


def _normalise(table: "AnnData") -> None:
    """Move the counts to their layer; ``X`` becomes log1p of them, scaled to one total."""
    import anndata as ad
    import scanpy as sc
    from scipy.sparse import csr_matrix

    asked = table.uns["options"]["target_sum"]
    totals = table.obs["total_counts"].to_numpy()
    # The median is over spots with counts, in float32: scanpy 1.11 takes in those without, too.
    found = totals[totals > 0].astype(np.float32)
    target = asked if asked != "median" else float(np.median(found)) if len(found) else np.nan
    counts = table.X
    x = np.empty(counts.nnz, np.float32)
    # Some spots after the other: scanpy makes copies that would be the peak of the job's memory.
    for first in range(0, table.n_obs, SPOTS):
        part = ad.AnnData(counts[first : first + SPOTS].astype(np.float32))
        with warnings.catch_warnings():  # that spots without counts stay, which min_genes decides
            warnings.filterwarnings("ignore", "Some cells have zero counts", UserWarning)
            sc.pp.normalize_total(part, target_sum=target)
        sc.pp.log1p(part)
        begin = counts.indptr[first]
        x[begin : begin + part.X.nnz] = part.X.data
    table.layers["counts"] = counts
    # Both share the places of their entries, in memory and in the file.
    table.X = csr_matrix((x, counts.indices, counts.indptr), shape=counts.shape)
    table.uns["log1p"] = {}  # scanpy's {"base": None} cannot be read before anndata 0.11
    table.uns["normalisation"] = {"target_sum": target, "target": str(asked), "log1p": True}


def write_expression(path: str | Path, table: "AnnData", compression: str) -> None:
    """Write an AnnData whose ``X`` has its entries where ``layers['counts']`` has.

    Part by part: ``write_h5ad`` turns columns of texts into categories, and would store the places
    of the entries twice.

    Parameters
    ----------
    path
        Where.
    table
        ``X`` and ``layers['counts']`` are CSR.
    compression
        A name of `COMPRESSIONS`.
    """
    import h5py
    from anndata.io import write_elem

    counts = table.layers["counts"]
    filters = COMPRESSIONS[compression]
    if counts.nnz:
        filters = filters | {"chunks": (min(counts.nnz, CHUNK),)}
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for part in ("layers", "obsm", "obsp", "varm", "varp"):
            write_elem(file, part, {})
        for part in ("obs", "var"):
            write_elem(file, part, getattr(table, part))
        write_elem(file, "uns", dict(table.uns))
        # Integers are small and ascend: their upper bytes, put side by side, nearly vanish. The few
        # different numbers of X repeat as they are.
        write_elem(file["layers"], "counts", counts, dataset_kwargs=filters | {"shuffle": True})
        x = file.create_group("X")
        x.attrs.update(file["layers/counts"].attrs)
        for part in ("indices", "indptr"):
            x[part] = file["layers/counts"][part]
        x.create_dataset("data", data=table.X.data, **(filters if counts.nnz else {}))


def _find_oddities(
    slide: str, spots: list[str], kept: np.ndarray, mitochondrial: np.ndarray, options: dict
) -> list[str]:
    """Say in sentences what a user should know of spots and filters."""
    oddities = []
    strangers = [spot for spot in spots if not spot.startswith(f"{slide}_")]
    if strangers:
        oddities.append(
            f"{len(strangers):,} spot ids do not begin with {slide}_, the first is "
            f"{strangers[0][:80]!r}; they are kept as they are"
        )
    if options["max_pct_mito"] is not None and not mitochondrial.any():
        oddities.append("max_pct_mito has no effect: no mitochondrial genes are known")
    if not kept.any():
        oddities.append("no spot is left: all counts of the spots with coordinates are zero")
    return oddities
