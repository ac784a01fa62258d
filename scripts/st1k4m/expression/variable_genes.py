"""Variable genes by Pearson residuals: what scanpy has a function for, in less memory.

``scanpy.experimental.pp.highly_variable_genes`` computes the residual of every spot and gene. On a
VisiumHD slide (605,471 x 18,085, 219 million counts) that takes 118 CPU-seconds and 12.3 GB, more
than a job may use. Here the residuals of zeros are computed once for each pair of totals that
occurs. The tests hold the result to scanpy's own. All else in an expression file scanpy computes.

The loops are compiled at their first call and kept in numba's cache: beside this file, or, where
that folder is read-only, in ``NUMBA_CACHE_DIR`` or the user's cache folder. Numba writes its cache
files beside and renames them, and keys them by source, processor and numba version, so jobs may
start together on a shared file system of mixed machines.
"""

from typing import TYPE_CHECKING

import numpy as np

from st1k4m.expression.compiled import compiled
from st1k4m.formats.expression import RANK

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def find_variable_genes(
    matrix: "csr_matrix",
    gene_totals: np.ndarray,
    spot_totals: np.ndarray,
    *,
    n_top_genes: int,
    theta: float,
) -> dict[str, np.ndarray]:
    """Return what ``scanpy.experimental.pp.highly_variable_genes`` puts in var.

    Genes that vary alike are ranked by their place in the file; none is variable without spots.

    Parameters
    ----------
    matrix
        (spots, genes) counts, CSR.
    gene_totals, spot_totals
        Its sums, (genes,) and (spots,).
    n_top_genes, theta
        As of scanpy's function.

    Returns
    -------
    dict
        By scanpy's names, (genes,) each.
    """
    n = matrix.shape[0]
    squares = _sum_squares(matrix.indices, matrix.data, matrix.shape[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        means = gene_totals / n
        variances = (squares - gene_totals * means) / (n - 1)
    residuals = residual_variances(matrix, gene_totals, spot_totals, theta)
    rank = np.empty(len(residuals), np.float32)
    rank[np.argsort(-residuals, kind="stable")] = np.arange(len(residuals))
    rank[rank >= (n_top_genes if n else 0)] = np.nan
    return {
        "means": means,
        "variances": variances,
        "residual_variances": residuals,
        RANK: rank,
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
    total = float(gene_totals.sum())
    if not total:
        return np.zeros(len(gene_totals))
    n = len(spot_totals)
    clip, theta = np.sqrt(n), float(theta)
    genes, place = np.unique(gene_totals, return_inverse=True)
    spots, often = np.unique(spot_totals, return_counts=True)
    sums, squares = (
        part[place]
        for part in _sum_zero_residuals(
            genes.astype(float), spots.astype(float), often, total, theta, clip
        )
    )
    _add_count_residuals(
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


@compiled
def _sum_squares(indices, values, genes):
    """Sum the squares of each gene's counts, (genes,) float64."""
    squares = np.zeros(genes, np.float64)
    for entry in range(len(indices)):
        squares[indices[entry]] += np.float64(values[entry]) * values[entry]
    return squares


@compiled
def _sum_zero_residuals(gene_totals, spot_totals, weights, total, theta, clip):
    """Sum the Pearson residuals that zeros have, and their squares, for each gene.

    ``weights`` says how many spots have each of ``spot_totals``.
    """
    sums = np.zeros(len(gene_totals))
    squares = np.zeros(len(gene_totals))
    for spot in range(len(spot_totals)):
        for gene in range(len(gene_totals)):
            mean = gene_totals[gene] * spot_totals[spot] / total
            residual = max(-np.sqrt(mean * theta / (theta + mean)), -clip)
            sums[gene] += weights[spot] * residual
            squares[gene] += weights[spot] * residual * residual
    return sums, squares


@compiled
def _add_count_residuals(
    ends, indices, values, gene_totals, spot_totals, total, theta, clip, sums, squares
):
    """Put the residuals of the counts in the place of those that zeros would have."""
    for spot in range(len(ends) - 1):
        for entry in range(ends[spot], ends[spot + 1]):
            gene = indices[entry]
            mean = gene_totals[gene] * spot_totals[spot] / total
            precision = 1 / np.sqrt(mean + mean * mean / theta)
            zero = max(-mean * precision, -clip)
            residual = min(max((values[entry] - mean) * precision, -clip), clip)
            sums[gene] += residual - zero
            squares[gene] += residual * residual - zero * zero
