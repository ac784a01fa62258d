"""Find variable genes by Pearson residuals, with less memory than scanpy's function.

``scanpy.experimental.pp.highly_variable_genes`` computes the residual of every spot and gene. On a
VisiumHD slide (605,471 x 18,085, 219 million counts) that takes 118 CPU-seconds and 12.3 GB, more
than a job may use. Here the residuals of zeros are computed once for each pair of totals that
occurs. The tests compare the result with scanpy's. Scanpy computes all other parts of an expression
file.

The loops are compiled at their first call and stored in numba's cache: next to this file, or, if
that folder is read-only, in ``NUMBA_CACHE_DIR`` or the user's cache folder. Numba writes a cache
file under a temporary name and renames it. The key of a cache file is source, processor and numba
version. Jobs may therefore start together on a file system that different machines share.
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
    """Compute the columns that ``scanpy.experimental.pp.highly_variable_genes`` puts in var.

    Genes of equal variance are ranked by their place in the file. Without spots, no gene is
    variable.

    Parameters
    ----------
    matrix
        (spots, genes) counts, CSR.
    gene_totals, spot_totals
        Sums of the matrix by gene, (genes,), and by spot, (spots,).
    n_top_genes, theta
        Number of variable genes and overdispersion, as in scanpy's function.

    Returns
    -------
    dict
        The columns by scanpy's names, (genes,) each.
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

    The method is that of Lause, Berens and Kobak, Genome Biology 22:258 (2021), as implemented in
    ``scanpy.experimental.pp.highly_variable_genes``. The residual of a zero depends only on the
    totals of its gene and its spot, so it is computed once for each pair of totals that occurs.
    The residuals of non-zero counts are computed one by one.

    Parameters
    ----------
    matrix
        (spots, genes) counts, CSR.
    gene_totals, spot_totals
        Sums of the matrix by gene, (genes,), and by spot, (spots,).
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
    """Sum the Pearson residuals of zeros, and their squares, for each gene.

    ``weights`` is the number of spots that have each of ``spot_totals``.
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
    """Replace the residuals of zeros by the residuals of the non-zero counts."""
    for spot in range(len(ends) - 1):
        for entry in range(ends[spot], ends[spot + 1]):
            gene = indices[entry]
            mean = gene_totals[gene] * spot_totals[spot] / total
            precision = 1 / np.sqrt(mean + mean * mean / theta)
            zero = max(-mean * precision, -clip)
            residual = min(max((values[entry] - mean) * precision, -clip), clip)
            sums[gene] += residual - zero
            squares[gene] += residual * residual - zero * zero
