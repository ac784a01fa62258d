"""What scanpy computes from counts: QC metrics, normalised values, variable genes.

Computed here as scanpy computes it, without importing it: that import alone takes as long as a
whole job does, and its functions copy the matrix several times. The tests hold every number to
scanpy's own.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

TOP = (50, 100, 200, 500)
"""Numbers of genes for scanpy's ``pct_counts_in_top_<n>_genes``."""


def compact_in_place(matrix: "csr_matrix", keep: np.ndarray) -> "csr_matrix":
    """Return some of the rows, in the memory of ``matrix``: a copy would be a slide's peak.

    Parameters
    ----------
    matrix
        (spots, genes) counts, CSR. It is of no use afterwards.
    keep
        (spots,) bool.
    """
    from scipy.sparse import csr_matrix

    from st1k4m.expression import kernels

    count = kernels.move_rows(keep, matrix.indptr, matrix.indices, matrix.data)
    ends = np.concatenate([[0], np.cumsum(np.diff(matrix.indptr)[keep])])
    parts = matrix.data[:count], matrix.indices[:count], ends.astype(matrix.indptr.dtype)
    return csr_matrix(parts, shape=(len(ends) - 1, matrix.shape[1]))


def sum_spots(
    matrix: "csr_matrix", mitochondrial: np.ndarray, top: Sequence[int] = ()
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum up each spot: all genes, the mitochondrial ones, the ``top[k]`` with most counts.

    Returns
    -------
    tuple of np.ndarray
        (spots,), (spots,) and (spots, len(top)) int64.
    """
    from st1k4m.expression import kernels

    return kernels.sum_spots(
        matrix.indptr, matrix.indices, matrix.data, mitochondrial, np.array(top, np.int64)
    )


def sum_genes(matrix: "csr_matrix") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum up each gene: spots it is found in, total (int64), sum of squares (float64)."""
    from st1k4m.expression import kernels

    return kernels.sum_genes(matrix.indices, matrix.data, matrix.shape[1])


def median_total(totals: np.ndarray) -> float:
    """Return the median of the totals above zero, in float32 as scanpy does; NaN for none."""
    return float(np.median(totals[totals > 0].astype(np.float32))) if totals.any() else np.nan


def describe_spots(
    matrix: "csr_matrix", mitochondrial: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return what ``scanpy.pp.calculate_qc_metrics`` puts in obs.

    Parameters
    ----------
    matrix
        (spots, genes) counts, CSR.
    mitochondrial
        (genes,) bool. Without any, the mitochondrial share is NaN.

    Returns
    -------
    totals
        (spots,) int64.
    columns
        By scanpy's names, (spots,) each.
    """
    top = [n for n in TOP if n <= matrix.shape[1]]
    totals, of_mitochondrial, of_top = sum_spots(matrix, mitochondrial, top)
    genes = np.diff(matrix.indptr).astype(np.int32)
    columns = {
        "n_genes_by_counts": genes,
        "log1p_n_genes_by_counts": np.log1p(genes),
        "total_counts": totals,
        "log1p_total_counts": np.log1p(totals),
    }
    with np.errstate(invalid="ignore"):
        for column, n in enumerate(top):
            columns[f"pct_counts_in_top_{n}_genes"] = of_top[:, column] / totals * 100
        if not mitochondrial.any():
            of_mitochondrial = np.full(len(totals), np.nan)
        columns["total_counts_mt"] = of_mitochondrial
        columns["log1p_total_counts_mt"] = np.log1p(of_mitochondrial)
        columns["pct_counts_mt"] = of_mitochondrial / totals * 100
    return totals, columns


def describe_genes(
    matrix: "csr_matrix", spot_totals: np.ndarray, n_top_genes: int, theta: float
) -> dict[str, np.ndarray]:
    """Return what scanpy puts in var: QC metrics, and the variable genes with their rank.

    Genes that vary alike are ranked by their place in the file; none is variable without spots.

    Parameters
    ----------
    matrix
        (spots, genes) counts, CSR.
    spot_totals
        (spots,) its sums.
    n_top_genes, theta
        As of ``scanpy.experimental.pp.highly_variable_genes``.

    Returns
    -------
    dict
        By scanpy's names, (genes,) each.
    """
    n = matrix.shape[0]
    in_spots, totals, squares = sum_genes(matrix)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = totals / n
        dropout = (1 - in_spots / n) * 100
        variances = (squares - totals * means) / (n - 1)
    residuals = residual_variances(matrix, totals, spot_totals, theta)
    rank = np.empty(len(totals), np.float32)
    rank[np.argsort(-residuals, kind="stable")] = np.arange(len(totals))
    rank[rank >= (n_top_genes if n else 0)] = np.nan
    return {
        "n_cells_by_counts": in_spots,
        "mean_counts": means,
        "log1p_mean_counts": np.log1p(means),
        "pct_dropout_by_counts": dropout,
        "total_counts": totals,
        "log1p_total_counts": np.log1p(totals),
        "means": means,
        "variances": variances,
        "residual_variances": residuals,
        "highly_variable_rank": rank,
        "highly_variable": ~np.isnan(rank),
    }


def residual_variances(
    matrix: "csr_matrix", gene_totals: np.ndarray, spot_totals: np.ndarray, theta: float
) -> np.ndarray:
    """Compute the variance of each gene's Pearson residuals, clipped at the root of the spots.

    Method of Lause, Berens and Kobak, Genome Biology 22:258 (2021), as
    ``scanpy.experimental.pp.highly_variable_genes`` has it. The residual of a zero depends on the
    totals of its gene and its spot alone, so it is computed once for each pair of totals that
    occurs, and only the counts themselves one by one.

    Parameters
    ----------
    matrix
        (spots, genes) counts, CSR.
    gene_totals, spot_totals
        Its sums.
    theta
        Overdispersion, the same for all genes.

    Returns
    -------
    np.ndarray
        (genes,) float64; 0 for a gene without counts.
    """
    from st1k4m.expression.kernels import add_count_residuals, sum_zero_residuals

    total = float(gene_totals.sum())
    if not total:
        return np.zeros(len(gene_totals))
    n = len(spot_totals)
    clip, theta = np.sqrt(n), float(theta)
    genes, place = np.unique(gene_totals, return_inverse=True)
    spots, often = np.unique(spot_totals, return_counts=True)
    sums, squares = (
        part[place]
        for part in sum_zero_residuals(
            genes.astype(float), spots.astype(float), often, total, theta, clip
        )
    )
    add_count_residuals(
        matrix.indptr,
        matrix.indices,
        matrix.data,
        gene_totals.astype(float),
        spot_totals.astype(float),
        total,
        theta,
        clip,
        sums,
        squares,
    )
    return squares / n - (sums / n) ** 2


def normalise(
    matrix: "csr_matrix", totals: np.ndarray, target: float, block: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield log1p of the counts scaled to ``target``, ``block`` by block, and where each begins.

    In float32 throughout, as ``scanpy.pp.normalize_total`` and ``log1p`` compute it.
    """
    scale = totals.astype(np.float32) / target
    scale[scale == 0] = 1
    for begin in range(0, matrix.nnz, block):
        end = min(begin + block, matrix.nnz)
        first = np.searchsorted(matrix.indptr, begin, side="right") - 1
        last = np.searchsorted(matrix.indptr, end, side="left")
        sizes = np.diff(np.clip(matrix.indptr[first : last + 1], begin, end))
        values = matrix.data[begin:end].astype(np.float32)
        values /= np.repeat(scale[first:last], sizes)
        yield begin, np.log1p(values, out=values)
