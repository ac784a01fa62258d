"""scanpy's variable genes (flavour seurat) from sums over the spots of many slides.

``scanpy.pp.highly_variable_genes`` needs all spots in one matrix, about 50 GB for the whole
dataset. Its numbers depend only on the mean and variance of each gene. Here these are summed block
by block, and the rest is computed as in scanpy 1.11 and 1.12. The tests compare every number with
scanpy's.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

BINS = 20
"""scanpy's ``n_bins``: a gene is compared with genes of a similar mean."""


class Moments:
    """Sums of the genes' values before log1p over spots, and the number of spots of each gene.

    Attributes
    ----------
    sums, squares
        Sums of the values and of their squares, (genes,) float64.
    spots
        (genes,) int64, number of spots in which the gene was measured.
    """

    def __init__(self, genes: int) -> None:
        self.sums = np.zeros(genes)
        self.squares = np.zeros(genes)
        self.spots = np.zeros(genes, np.int64)

    def add(self, logged: "csr_matrix") -> None:
        """Add the values of some spots.

        Parameters
        ----------
        logged
            (spots, genes) float32, after log1p. The flavour computes expm1 of it and rounds the
            square to float32; so does this method.
        """
        values = np.expm1(logged.data)
        genes = len(self.sums)
        self.sums += np.bincount(logged.indices, values, genes)
        self.squares += np.bincount(logged.indices, values * values, genes)

    def measure(self, genes: np.ndarray, spots: int) -> None:
        """Add ``spots`` to the number of spots in which ``genes`` (indices) were measured."""
        self.spots[genes] += spots

    def mean_and_variance(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and unbiased variance, (genes,) float64 each; NaN without spots."""
        spots = self.spots.astype(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self.sums / spots
            variance = self.squares / spots - mean**2
            factor = np.where(self.spots == 1, 1.0, spots / (spots - 1))
            return mean, variance * factor


def normalise_dispersions(mean: np.ndarray, variance: np.ndarray) -> "pd.DataFrame":
    """Compute what ``scanpy.pp.highly_variable_genes`` (flavour seurat) computes for each gene.

    Parameters
    ----------
    mean, variance
        (genes,) float64, of the normalised counts before log1p.

    Returns
    -------
    pandas.DataFrame
        (genes,) rows with ``means`` (log1p of the mean), ``dispersions`` (log of variance over
        mean) and ``dispersions_norm``. Genes are put into `BINS` bins by their mean;
        ``dispersions_norm`` is the distance from the mean dispersion of the bin, in standard
        deviations of the bin. A gene alone in its bin has 1.
    """
    import pandas as pd

    mean = np.where(mean == 0, 1e-12, mean)
    ratio = variance / mean
    with np.errstate(invalid="ignore", divide="ignore"):
        dispersions = np.log(np.where(ratio == 0, np.nan, ratio))
    table = pd.DataFrame({"means": np.log1p(mean), "dispersions": dispersions})
    place = pd.cut(table["means"], bins=BINS, labels=False)
    bins = table["dispersions"].groupby(place).agg(["mean", "std"])
    alone = bins["std"].isna()
    centre = bins["mean"].where(~alone, 0.0)
    spread = bins["std"].where(~alone, bins["mean"])
    table["dispersions_norm"] = (table["dispersions"] - place.map(centre)) / place.map(spread)
    return table


def find_most_variable(dispersions_norm: np.ndarray, n: int) -> np.ndarray:
    """Return the genes that scanpy calls variable when asked for ``n``.

    Parameters
    ----------
    dispersions_norm
        (genes,) float64; NaN is never variable.
    n
        Number of genes asked for.

    Returns
    -------
    np.ndarray
        (genes,) bool: all genes that reach the n-th highest value. These are more than ``n`` if
        genes share that value, fewer if fewer genes have a value.
    """
    values = np.sort(dispersions_norm[~np.isnan(dispersions_norm)])[::-1]
    if not len(values):
        return np.zeros(len(dispersions_norm), bool)
    with np.errstate(invalid="ignore"):
        return dispersions_norm >= values[min(n, len(values)) - 1]
