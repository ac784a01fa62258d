"""scanpy's variable genes of flavour seurat, from the sums over the spots of many slides.

``scanpy.pp.highly_variable_genes`` needs all spots in one matrix, which for the whole dataset is
some 50 GB. Its numbers depend on a gene's mean and variance alone, so these are summed up block by
block, and what follows from them is computed here as scanpy does it (1.11 and 1.12). The tests hold
every number to scanpy's.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

BINS = 20
"""scanpy's ``n_bins``: genes are compared with those of a like mean."""


class Moments:
    """Sums over spots of what the genes' values are before log1p, with each gene's spots.

    Attributes
    ----------
    sums, squares
        (genes,) float64.
    spots
        (genes,) int64, spots in which the gene was measured.
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
            (spots, genes) float32, after log1p. The flavour takes expm1 of it, and rounds the
            square to float32, which is done here too.
        """
        values = np.expm1(logged.data)
        genes = len(self.sums)
        self.sums += np.bincount(logged.indices, values, genes)
        self.squares += np.bincount(logged.indices, values * values, genes)

    def measure(self, genes: np.ndarray, spots: int) -> None:
        """Note that ``genes`` (their places) were measured in so many more spots."""
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
    """Compute what ``scanpy.pp.highly_variable_genes`` (flavour seurat) has of each gene.

    Parameters
    ----------
    mean, variance
        (genes,) float64, of the normalised counts before log1p.

    Returns
    -------
    pandas.DataFrame
        (genes,) rows with ``means`` (log1p of the mean), ``dispersions`` (log of variance over
        mean) and ``dispersions_norm`` (its distance from the mean of the genes in the same of
        `BINS` bins of the mean, in their standard deviations). A gene alone in its bin has 1.
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
    """Return which genes scanpy calls variable when asked for ``n``.

    Parameters
    ----------
    dispersions_norm
        (genes,) float64; NaN is never variable.
    n
        How many.

    Returns
    -------
    np.ndarray
        (genes,) bool. All genes that reach the n-th highest value: more than ``n`` where genes are
        exactly alike there, fewer where fewer have a value.
    """
    values = np.sort(dispersions_norm[~np.isnan(dispersions_norm)])[::-1]
    if not len(values):
        return np.zeros(len(dispersions_norm), bool)
    with np.errstate(invalid="ignore"):
        return dispersions_norm >= values[min(n, len(values)) - 1]
