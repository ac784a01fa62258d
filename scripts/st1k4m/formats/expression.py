"""The expression file of a slide, ``work/expression/{slide}.h5ad``: an AnnData file.

The slide's AnnData is a copy of it, except for three parts of ``uns``: ``options`` and ``facts`` of
the step, and ``dropped``, the dropped spots of the count file with their reasons.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from st1k4m.formats.texts import read_index, read_texts

if TYPE_CHECKING:
    from anndata import AnnData  # type: ignore[import-untyped]

#: Parts of ``uns``; those in OWN are not copied to the slide's AnnData.
SLIDE, OPTIONS, FACTS, DROPPED = "slide", "options", "facts", "dropped"
OWN = (OPTIONS, FACTS, DROPPED)
SPOT, REASON = "spot", "reason"
NORMALISATION, TARGET_SUM = "normalisation", "target_sum"
#: The columns of ``obs`` (the first) and ``var`` that are not computed from the counts.
BARCODE, PRINTED, GENE_IDS, MITO = "barcode", "name", "gene_ids", "mt"
COUNTS = "counts"
#: Columns that are computed from the counts, with scanpy's names.
TOTAL_COUNTS, RANK = "total_counts", "highly_variable_rank"

CHUNK = 1 << 18
"""Entries of a matrix that are stored and compressed in one HDF5 chunk."""

COMPRESSIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "lzf": {"compression": "lzf"},
    "gzip": {"compression": "gzip", "compression_opts": 1},
}
"""HDF5 filters by option. h5py reads all of them, other HDF5 programs only none and gzip."""


def write_expression(path: str | Path, table: "AnnData", compression: str) -> None:
    """Write an AnnData whose ``X`` and ``layers['counts']`` have the same non-zero entries.

    It is written part by part, because ``write_h5ad`` would turn columns of texts into categories,
    and would store the index arrays twice.

    Parameters
    ----------
    path
        The file to write.
    table
        An AnnData in which ``X`` and ``layers['counts']`` are CSR.
    compression
        A name of `COMPRESSIONS`.
    """
    from anndata.io import write_elem  # type: ignore[import-untyped]

    counts = table.layers[COUNTS]
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
        # Counts and indices are small integers: with the shuffle filter, their upper bytes compress
        # to almost nothing. X has few different values, which compress well without it.
        write_elem(file["layers"], COUNTS, counts, dataset_kwargs=filters | {"shuffle": True})
        x = file.create_group("X")
        x.attrs.update(file["layers"][COUNTS].attrs)
        for part in ("indices", "indptr"):
            x[part] = file["layers"][COUNTS][part]
        x.create_dataset("data", data=table.X.data, **(filters if counts.nnz else {}))


def read_counted(path: str | Path, keep: np.ndarray) -> "AnnData":
    """Read some spots without the values that were computed from their counts.

    Parameters
    ----------
    path
        The file that `write_expression` wrote.
    keep
        (spots,) bool, in the order of the file.

    Returns
    -------
    anndata.AnnData
        ``X`` are the counts, int32 CSR. Genes are numbered, because names are made unique later.
    """
    import anndata as ad
    from anndata.io import read_elem

    with h5py.File(path) as file:
        obs, var, uns = (read_elem(file[part]) for part in ("obs", "var", "uns"))
        matrix = read_elem(file["layers"][COUNTS])[keep]
    var = var[[name for name in (PRINTED, GENE_IDS, MITO) if name in var]]
    var.index = np.arange(len(var)).astype(str)
    uns = {name: uns[name] for name in (SLIDE, *OWN)}
    return ad.AnnData(matrix, obs=obs.loc[keep, [BARCODE]], var=var, uns=uns)


def read_spot_names(path: str | Path) -> list[str]:
    """Read the ids of the spots, in order, without the rest of the file."""
    with h5py.File(path) as file:
        names: list[str] = read_index(file["obs"]).tolist()
        return names


def read_dropped(path: str | Path) -> dict[str, str]:
    """Read the reason of every dropped spot of the count file, by its id."""
    with h5py.File(path) as file:
        dropped = file["uns"][DROPPED]
        return dict(zip(*(read_texts(dropped[name]) for name in (SPOT, REASON)), strict=True))


def read_facts(path: str | Path) -> dict[str, Any]:
    """Read the facts of the step and its normalisation; values are as anndata reads them."""
    from anndata.io import read_elem

    with h5py.File(path) as file:
        facts: dict[str, Any] = read_elem(file["uns"][FACTS])
        return facts | {NORMALISATION: read_elem(file["uns"][NORMALISATION])}
