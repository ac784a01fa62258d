"""Compiled loops of the expression step.

They are compiled at their first call and kept in numba's cache: beside this file, or, where that
folder is read-only, in ``NUMBA_CACHE_DIR`` or the user's cache folder. Numba writes its cache
files beside and renames them, and keys them by source, processor and numba version, so jobs may
start together on a shared file system of mixed machines.
"""

import numpy as np

from st1k4m.expression.compiled import compiled


@compiled
def sum_spots(ends, indices, values, mitochondrial, top):
    """Sum up each spot.

    Parameters
    ----------
    ends, indices, values
        CSR of counts.
    mitochondrial
        (genes,) bool.
    top
        (k,) int64, ascending.

    Returns
    -------
    totals, of_mitochondrial
        (spots,) int64.
    of_top
        (spots, k) int64, counts in the ``top[k]`` genes with most counts.
    """
    spots = len(ends) - 1
    totals = np.zeros(spots, np.int64)
    of_mitochondrial = np.zeros(spots, np.int64)
    of_top = np.zeros((spots, len(top)), np.int64)
    # Nearly all counts are small, so counting how often each occurs replaces most of the sorting.
    often = np.empty(256, np.int64)
    for spot in range(spots):
        begin, end = ends[spot], ends[spot + 1]
        often[:] = 0
        large = 0
        for entry in range(begin, end):
            value = values[entry]
            totals[spot] += value
            if mitochondrial[indices[entry]]:
                of_mitochondrial[spot] += value
            if value < 256:
                often[value] += 1
            else:
                large += 1
        rest = np.empty(large, np.int64)
        for entry in range(begin, end):
            if values[entry] >= 256:
                large -= 1
                rest[large] = values[entry]
        rest.sort()
        for rank in range(len(top)):
            wanted = top[rank]
            total = np.int64(0)
            for value in rest[::-1][:wanted]:
                total += value
            wanted -= min(wanted, len(rest))
            for value in range(255, 0, -1):
                taken = min(wanted, often[value])
                total += taken * value
                wanted -= taken
            of_top[spot, rank] = total
    return totals, of_mitochondrial, of_top


@compiled
def move_rows(keep, ends, indices, values):
    """Move the entries of the rows to ``keep`` to the front; return how many they are."""
    count = 0
    for row in range(len(keep)):
        if keep[row]:
            for entry in range(ends[row], ends[row + 1]):
                indices[count] = indices[entry]
                values[count] = values[entry]
                count += 1
    return count


@compiled
def sum_genes(indices, values, genes):
    """Sum up each gene: spots it is found in and total (int64), sum of squares (float64)."""
    spots = np.zeros(genes, np.int64)
    totals = np.zeros(genes, np.int64)
    squares = np.zeros(genes, np.float64)
    for entry in range(len(indices)):
        gene, value = indices[entry], values[entry]
        spots[gene] += 1
        totals[gene] += value
        squares[gene] += np.float64(value) * value
    return spots, totals, squares


@compiled
def sum_zero_residuals(gene_totals, spot_totals, weights, total, theta, clip):
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
def add_count_residuals(
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
