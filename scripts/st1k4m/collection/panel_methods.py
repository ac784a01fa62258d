"""Choose a panel's genes, by one of several methods.

The methods give the same genes, in the same ranks, as scanpy run like in the authors' notes
(docs/docs/04-gene-exp-hvg.md of JiawenChenn/STimage-1K4M) or in HEST-bench (``get_k_genes`` of
mahmoodlab/HEST). The input of scanpy is then one matrix of int32 counts: the stacked spots of the
slides' AnnData files, with columns of the same name summed. A run of the original scripts differs
in four ways:

- the notes read the count files, so they also use spots without coordinates;
- pandas names a repeated column ``X.1``, and the notes treat it as another gene;
- the notes read Visium counts as float64, because they are printed ``0.0``, and ST counts as int64,
  which scanpy converts to float32; here all are float32;
- the notes lose the names (``gene0`` ...) and the order of the genes; here both are kept.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from st1k4m.collection.dispersions import Moments, find_most_variable, normalise_dispersions
from st1k4m.collection.panel_options import PanelOptions
from st1k4m.collection.slide_genes import SlideGenes

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix


DETECTED = 0.10
"""Share of a slide's spots that must have a gene in HEST-bench (``min_cells_pct``)."""

THETA = 100
"""Overdispersion of the Pearson residuals: scanpy's default, as in the authors' note 04."""

CONTROLS = ("BLANK", "Control")
"""Controls of imaging panels: HEST-bench leaves out genes with one of these in their name."""


@dataclass
class Choice:
    """The genes of a panel.

    Attributes
    ----------
    table
        One row per gene, in the order of the panel: ``gene``, and what the method computed.
    genes
        Their indices in `SlideGenes.names`; -1 for a gene that no slide prints.
    had
        (genes, training slides) bool: which slide has which gene, over all genes; None if the
        method does not need it.
    candidates
        Indices of the genes that enough slides have.
    target
        Median total over the candidates, if the method computed it.
    own
        With ``slide_hvg``, the genes of each slide as indices, most variable first.
    notes
        Sentences for the head.
    """

    table: "pd.DataFrame"
    genes: np.ndarray
    had: np.ndarray | None
    candidates: np.ndarray
    target: float | None = None
    own: dict[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_candidates(had: np.ndarray, share: float) -> np.ndarray:
    """Return the indices of the genes that enough slides have, at least one."""
    return np.flatnonzero(had.sum(axis=1) >= needed_slides(share, had.shape[1]))


def needed_slides(share: float, slides: int) -> int:
    """Return the number of slides that must have a gene."""
    return max(1, math.ceil(share * slides - 1e-9))


def log_normalised(counts: "csr_matrix", totals: np.ndarray, target: float) -> "csr_matrix":
    """Return log1p of the counts scaled to a total of ``target``.

    All in float32, as in ``scanpy.pp.normalize_total`` and ``log1p``. scanpy is not called because
    it uses the total of the given columns, and here these are only the genes of a panel.

    Parameters
    ----------
    counts
        (spots, genes) int32.
    totals
        (spots,) the totals to normalise by. A spot with total 0 becomes 0 everywhere.
    target
        The total after normalisation; NaN: the counts are not normalised.
    """
    values = counts.data.astype(np.float32)
    if not np.isnan(target):
        scale = totals.astype(np.float32) / np.float32(target)
        scale[totals == 0] = np.inf
        values /= np.repeat(scale, np.diff(counts.indptr))
    logged = counts.astype(np.float32)
    logged.data = np.log1p(values, out=values)
    return logged


def median_total(totals: np.ndarray) -> float:
    """Return the median of the totals above zero, in float32 like scanpy; NaN if there are none."""
    totals = totals[totals > 0].astype(np.float32)
    return float(np.median(totals)) if len(totals) else math.nan


def choose_overlap_hvg(genes: SlideGenes, slides: list[str], options: PanelOptions) -> Choice:
    """Choose the genes that vary most, among those that the slides have in common.

    This is "Overlap-HVG" of the authors' note 04: intersect the names, stack the spots, leave out
    spots without a count, normalise to the median total over the common genes, log1p, take
    scanpy's variable genes of flavour seurat.
    """
    had = _printed_on(genes, slides)
    candidates = find_candidates(had, options.share)
    target = median_total(
        np.concatenate([[0], *(sum_spots(genes, slide, candidates) for slide in slides)])
    )
    moments = Moments(len(candidates))
    for place, slide in enumerate(slides):
        spots = 0
        for counts in genes.blocks(slide, candidates):
            totals = _totals(counts)
            moments.add(log_normalised(counts, totals, target))
            spots += int((totals > 0).sum())
        moments.measure(np.flatnonzero(had[candidates, place]), spots)
    found = moments.sums > 0  # filter_genes(min_cells=1)
    choice = _choose_variable(genes, candidates[found], moments, found, had, candidates, options)
    choice.target = target
    return choice


def choose_hest(genes: SlideGenes, slides: list[str], options: PanelOptions) -> Choice:
    """Choose the genes that vary most among those found in 10 % of the spots, as HEST-bench does.

    The counts are not normalised; log1p, then scanpy's variable genes of flavour seurat.
    Candidates are sorted by name, as by numpy's ``intersect1d``; with one slide they have the
    slide's order. If genes are tied at the limit, the first ``n`` in this order are taken.
    """
    had = np.zeros((len(genes.names), len(slides)), bool)
    printed = _printed_on(genes, slides)
    moments = Moments(len(genes.names))
    for place, slide in enumerate(slides):
        spots, found_in = 0, np.zeros(len(genes.names), np.int64)
        for counts in genes.blocks(slide):
            moments.add(log_normalised(counts, np.zeros(0), math.nan))
            found_in += np.bincount(counts.indices, minlength=len(found_in))
            spots += counts.shape[0]
        # The expression of HEST-bench: 0.1 * 70 is 7.000000000000001, so 8 of 70 are needed.
        had[:, place] = printed[:, place] & (found_in >= math.ceil(DETECTED * spots))
        moments.measure(np.flatnonzero(printed[:, place]), spots)
    candidates = find_candidates(had, options.share)
    controls = [any(word in genes.names[gene] for word in CONTROLS) for gene in candidates]
    left_out = [genes.names[gene] for gene in candidates[controls]]
    candidates = candidates[~np.array(controls, bool)]
    if len(slides) > 1:
        candidates = candidates[np.argsort([genes.names[gene] for gene in candidates])]
    choice = _choose_variable(
        genes, candidates, moments, candidates, had, candidates, options, cut_ties=True
    )
    if left_out:
        choice.notes.append(f"Controls left out, as HEST-bench does: {', '.join(left_out[:20])}.")
    return choice


def choose_mean(genes: SlideGenes, slides: list[str], options: PanelOptions) -> Choice:
    """Choose the genes with the highest mean count over all spots of the slides that print them."""
    import pandas as pd

    had = _printed_on(genes, slides)
    candidates = find_candidates(had, options.share)
    sums, spots = np.zeros(len(candidates), np.int64), np.zeros(len(candidates), np.int64)
    for place, slide in enumerate(slides):
        printed = had[candidates, place]
        for counts in genes.blocks(slide, candidates):
            sums += np.asarray(counts.sum(axis=0, dtype=np.int64)).ravel()
            spots[printed] += counts.shape[0]
    with np.errstate(invalid="ignore"):
        means = sums / spots
    # A stable sort keeps tied genes in the order in which the slides print them.
    order = np.argsort(-np.nan_to_num(means), kind="stable")[: options.n]
    chosen = candidates[order]
    table = pd.DataFrame({"gene": [genes.names[gene] for gene in chosen], "mean": means[order]})
    return Choice(table, chosen, had, candidates)


def choose_slide_hvg(genes: SlideGenes, slides: list[str], options: PanelOptions) -> Choice:
    """Choose the genes that vary most on each slide, by Pearson residuals.

    This is "HVG" of the authors' note 04, which keeps the rank of each slide's genes but not their
    names. The panel has all genes that are among the ``n`` genes of enough slides. They are ordered
    as scanpy orders variable genes of several batches: by number of slides, then by median rank.
    """
    import pandas as pd

    own = {slide: rank_by_residuals(genes, slide, options.n) for slide in genes.slides}
    long = pd.DataFrame(
        [(gene, slide, rank) for slide in slides for rank, gene in enumerate(own[slide], start=1)],
        columns=["gene", "slide", "rank"],
    )
    had = np.zeros((len(genes.names), len(slides)), bool)
    for place, slide in enumerate(slides):
        had[own[slide], place] = True
    candidates = find_candidates(had, options.share)
    ranks = long.groupby("gene")["rank"].agg(["count", "median"]).reindex(candidates)
    # A stable sort keeps tied genes in the order in which the slides print them.
    ranks = ranks.sort_values(["count", "median"], ascending=[False, True], kind="stable")
    texts = (long["slide"] + "=" + long["rank"].astype(str)).groupby(long["gene"]).agg(";".join)
    chosen = ranks.index.to_numpy()
    table = pd.DataFrame(
        {
            "gene": [genes.names[gene] for gene in chosen],
            "variable_on": ranks["count"].to_numpy(),
            "median_rank": ranks["median"].to_numpy(),
            "ranks": texts.reindex(chosen).to_numpy(),
        }
    )
    return Choice(table, chosen, had, candidates, own=own)


def rank_by_residuals(genes: SlideGenes, slide: str, n: int) -> np.ndarray:
    """Return a slide's ``n`` most variable genes by Pearson residuals, most variable first.

    Parameters
    ----------
    genes
        Genes of all slides.
    slide
        Name of the slide.
    n
        Number of genes; fewer if fewer have a count. Tied genes are in the slide's order.

    Returns
    -------
    np.ndarray
        Indices in `SlideGenes.names`, int.
    """
    import scanpy as sc
    from anndata import AnnData
    from scipy.sparse import vstack

    columns = np.unique(genes.sets[slide].columns)
    columns = columns[columns >= 0]
    blocks = list(genes.blocks(slide, columns))
    if not blocks:
        return np.zeros(0, np.int64)
    counts = vstack(blocks, "csr")
    del blocks
    counts = counts[np.diff(counts.indptr) > 0]  # filter_cells(min_genes=1)
    if not counts.nnz:
        return np.zeros(0, np.int64)
    found = sc.experimental.pp.highly_variable_genes(
        AnnData(counts), n_top_genes=n, theta=THETA, check_values=False, inplace=False
    )
    residuals = found["residual_variances"].to_numpy()
    order = np.argsort(-residuals, kind="stable")[:n]
    return columns[order[residuals[order] > 0]]


def take_list(genes: SlideGenes, wanted: list[str]) -> Choice:
    """Take the genes of a list, in its order. A note names genes that no slide prints."""
    import pandas as pd

    place = {name: number for number, name in enumerate(genes.names)}
    chosen = np.array([place.get(name, -1) for name in wanted], np.int64)
    missing = [name for name, number in zip(wanted, chosen, strict=True) if number < 0]
    notes = []
    if missing:
        notes.append(
            f"WARNING: no selected slide prints {len(missing):,} of the genes of the list: "
            f"{', '.join(missing[:20])}{' ...' if len(missing) > 20 else ''}."
        )
    return Choice(pd.DataFrame({"gene": wanted}), chosen, None, chosen[chosen >= 0], notes=notes)


CHOOSERS: dict[str, Callable[[SlideGenes, list[str], PanelOptions], Choice]] = {
    "overlap_hvg": choose_overlap_hvg,
    "slide_hvg": choose_slide_hvg,
    "hest": choose_hest,
    "mean": choose_mean,
}


def sum_spots(genes: SlideGenes, slide: str, columns: np.ndarray | None = None) -> np.ndarray:
    """Return the total of each spot of a slide over some genes, or over all: (spots,) int64."""
    blocks = genes.blocks(slide, columns)
    return np.concatenate([np.zeros(0, np.int64), *(_totals(block) for block in blocks)])


def _totals(counts: "csr_matrix") -> np.ndarray:
    return np.asarray(counts.sum(axis=1, dtype=np.int64)).ravel()


def _printed_on(genes: SlideGenes, slides: list[str]) -> np.ndarray:
    place = {slide: number for number, slide in enumerate(genes.slides)}
    return genes.printed()[:, [place[slide] for slide in slides]]


def _choose_variable(
    genes: SlideGenes,
    names: np.ndarray,
    moments: Moments,
    rows: np.ndarray,
    had: np.ndarray,
    candidates: np.ndarray,
    options: PanelOptions,
    cut_ties: bool = False,
) -> Choice:
    """Rank the genes that scanpy calls variable, by normalised dispersion.

    Parameters
    ----------
    names
        Indices of the genes that scanpy would get, in its order.
    rows
        Where ``moments`` has these genes: a mask or indices.
    """
    import pandas as pd

    if not len(names):
        return Choice(pd.DataFrame({"gene": []}), names, had, candidates)
    mean, variance = (values[rows] for values in moments.mean_and_variance())
    table = normalise_dispersions(mean, variance)
    variable = np.flatnonzero(find_most_variable(table["dispersions_norm"].to_numpy(), options.n))
    notes = []
    if len(variable) > options.n:
        taken = f"the first {options.n} by name are taken, as HEST-bench does"
        notes.append(
            f"{len(variable)} genes vary as much as number {options.n}, some exactly alike: "
            + (taken if cut_ties else "scanpy takes them all, and so does this panel")
            + "."
        )
        variable = variable[: options.n] if cut_ties else variable
    order = np.argsort(-table["dispersions_norm"].to_numpy()[variable], kind="stable")
    variable = variable[order]
    chosen = names[variable]
    table = table.iloc[variable].reset_index(drop=True)
    table.insert(0, "gene", [genes.names[gene] for gene in chosen])
    return Choice(table, chosen, had, candidates, notes=notes)
