"""Choose a panel: the genes that a model is trained on, and their counts on all slides."""

import csv
import json
import logging
import math
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from st1k4m.collection import gene_losses, panel_methods
from st1k4m.collection.gene_names import read_list, read_renames
from st1k4m.collection.panel_methods import Choice, log_normalised, median_total, sum_spots
from st1k4m.collection.panel_options import PanelOptions, read_options
from st1k4m.collection.slide_genes import SlideGenes, count_spots, take_columns
from st1k4m.errors import ConfigError, SlideError
from st1k4m.formats import panel as panel_file
from st1k4m.formats import slide_anndata
from st1k4m.run.outputs import atomic, write_text
from st1k4m.run.products import read_made
from st1k4m.run.provenance import Made, digest_of, plain
from st1k4m.run.steps import REVISIONS

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

FACTS = ("tech", "species", "tissue", "study", "patient")
"""Columns of ``slides.tsv`` that are copied to ``obs`` of the stacked panel."""

SPOT_COLUMNS = {
    slide_anndata.BARCODE: str,
    slide_anndata.ARRAY_ROW: np.int32,
    slide_anndata.ARRAY_COL: np.int32,
    slide_anndata.IN_TISSUE: bool,
    slide_anndata.TILE: np.int64,
}
"""Columns of a slide's ``obs`` that are copied to ``obs`` of the stacked panel."""

LISTED = 20
"""Largest number of names that a line of the head lists; the others are only counted."""


@dataclass(frozen=True)
class Group:
    """The slides of a panel.

    Attributes
    ----------
    slides
        The selected rows of ``slides.tsv``, in its order; the index is the slide.
    train
        (slides,) bool: the slides that the genes are chosen from.
    parts
        Part of each slide in the panel's split, (slides,); empty if it has none.
    """

    slides: "pd.DataFrame"
    train: np.ndarray
    parts: list[str]


def choose_panel(
    name: str,
    config: Mapping,
    slides: str | Path,
    anndata: str | Path,
    table: str | Path,
    stacked: str | Path,
    *,
    split: str | Path | None = None,
    genes: str | Path | None = None,
    renames: str | Path | None = None,
) -> list[str]:
    """Choose a panel's genes and write them with their counts.

    Parameters
    ----------
    name
        Name of the panel.
    config
        Its options: ``panels.<name>`` in the configuration.
    slides
        ``slides.tsv``: one row per slide.
    anndata
        The folder of the slides' AnnData files.
    table
        Where to write the table of genes, ``rank, gene, slides, ...``; its head states how they
        were chosen.
    stacked
        Where to write the AnnData file: the spots of all selected slides x the panel's genes.
    split
        The table of the split, ``slide, part, group``, if the genes are chosen from some parts.
    genes
        The file with the genes, for method ``list``; see `st1k4m.collection.gene_names.read_list`.
    renames
        The user's table of names; see `st1k4m.collection.gene_names.read_renames`.

    Returns
    -------
    list of str
        Warnings for the user, in sentences; the head has them too.

    Raises
    ------
    SlideError
        No panel can be chosen: too few genes are common (the message names the slides that cause
        this), the split or a file of the options does not fit, or a slide's AnnData cannot be read.
    """
    try:
        options = read_options(name, config)
        group = read_group(name, options, slides, split)
        names = read_renames(renames) if renames else {}
        wanted = read_list(genes) if genes else None
    except ConfigError as error:
        raise _error(name, str(error), "correct it, then run again") from None
    paths = {slide: Path(anndata) / f"{slide}.h5ad" for slide in group.slides.index}
    known = SlideGenes(paths, options.names, names)
    train = [slide for slide, taken in zip(paths, group.train, strict=True) if taken]
    log.info("%d slides, %d to choose from, %d genes", len(paths), len(train), len(known.names))
    if wanted is not None:
        choice = panel_methods.take_list(known, wanted)
    else:
        choice = panel_methods.CHOOSERS[options.method](known, train, options)
    losses = gene_losses.find_losses(choice.had, train, options.share)
    _refuse_short(name, options, choice, losses, train)
    target = _find_target(known, train, options, choice)
    warnings = [*_warn(options, group, choice, losses, train), *choice.notes]
    for warning in warnings:
        log.warning(warning)
    head = _describe(name, options, group, known, choice, losses, target, train, warnings)
    present = known.printed()[choice.genes] & (choice.genes >= 0)[:, None]
    choice.table.insert(0, "rank", np.arange(1, len(choice.table) + 1))
    choice.table.insert(2, "slides", present.sum(axis=1))
    _stack(stacked, name, options, group, known, choice, present, target, head)
    _write_table(table, head, choice.table)
    return warnings


def _error(name: str, what: str, hint: str) -> SlideError:
    return SlideError("all slides", f"panel {name}: {what}", hint)


def read_group(
    name: str, options: PanelOptions, slides: str | Path, split: str | Path | None
) -> Group:
    """Read which slides a panel has and from which of them its genes are chosen.

    Parameters
    ----------
    name
        Name of the panel.
    options
        Options of the panel.
    slides
        ``slides.tsv``.
    split
        The table of the split; None if the panel has none.

    Raises
    ------
    ConfigError
        No slide is selected, or no selected slide is in the parts that the genes are chosen from.
    """
    table = _read_table(slides).set_index("slide")
    taken = [options.takes({"slide": slide, **row}) for slide, row in table.iterrows()]
    table = table[np.array(taken, bool)]
    where = f"panels.{name}"
    if table.empty:
        raise ConfigError(f"{where}.select: no slide in {slides} is selected")
    if not options.split:
        return Group(table, np.ones(len(table), bool), [""] * len(table))
    parts = _read_table(split).set_index("slide")["part"]
    of_slides = [parts.get(slide, "") for slide in table.index]
    train = np.array([part in options.parts for part in of_slides], bool)
    if not train.any():
        raise ConfigError(
            f"{where}.train: none of the {len(table):,} selected slides is in part "
            f"{', '.join(options.parts)} of the split {options.split!r}, which has "
            f"{', '.join(sorted(set(parts)))}"
        )
    return Group(table, train, of_slides)


def _read_table(path: str | Path) -> "pd.DataFrame":
    """Read a table of the collection, all values as text; its head lines start with ``#``."""
    import pandas as pd

    with open(path, encoding="utf-8") as file:
        head = 0
        while file.readline().startswith("#"):
            head += 1
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, skiprows=head)


def _refuse_short(
    name: str,
    options: PanelOptions,
    choice: Choice,
    losses: gene_losses.Losses | None,
    train: list[str],
) -> None:
    """Raise if the panel is shorter than asked for, and name the slides that cost most genes."""
    if options.method == "list" and (choice.genes >= 0).any():
        return
    if options.method == "list":
        raise _error(
            name,
            f"none of the {len(choice.genes):,} genes of the list is printed on a selected slide; "
            f"the list begins with {choice.table['gene'].iloc[0]!r}",
            "check the species; remove Ensembl versions with names: {drop_version: true}, or give "
            "a table of names with names: {rename: FILE}",
        )
    if options.method == "slide_hvg" and len(choice.genes):
        return
    if len(choice.genes) >= options.n:
        return
    what = (
        f"{len(choice.genes):,} genes can be chosen from {_number(len(train), 'slide')}, not the "
        f"{options.n:,} asked for; {losses.kept:,} of {losses.every:,} genes "
        f"{_MUST[options.method]} {_share(options.share, len(train))}"
    )
    gone: list[str] = []
    hint = "lower n"
    for loss, kept in losses.together:
        gone += loss.slides
        what += f"\n  without {_name(loss.slides)} ({loss.had:,} genes), {kept:,} are left"
        if kept >= options.n:
            hint = (
                f"leave {_name(gone)} out of the panel by `select`, or lower `share` "
                f"(to {math.floor((len(train) - len(gone)) / len(train) * 100) / 100:.2f} or "
                "less), or lower n"
            )
            break
    raise _error(name, what, hint)


_MUST = {
    "overlap_hvg": "are printed on",
    "mean": "are printed on",
    "hest": f"are found in {panel_methods.DETECTED:.0%} of the spots of",
    "slide_hvg": "are among the variable ones of",
}


def _share(share: float, slides: int) -> str:
    needed = panel_methods.needed_slides(share, slides)
    return "all of them" if needed == slides else f"at least {needed:,} of them"


def _number(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _name(slides: tuple[str, ...] | list[str]) -> str:
    rest = len(slides) - 3
    return ", ".join(slides[:3]) + (f" and {rest:,} more" if rest > 0 else "")


def _find_target(
    genes: SlideGenes, train: list[str], options: PanelOptions, choice: Choice
) -> dict[str, float]:
    """Return the total that each slide's spots are normalised to; NaN if not normalised.

    It is the median over the spots of the slides that the genes are chosen from; for ``slide_hvg``
    it is the median over the slide's own spots.
    """
    if options.normalise == "slide":
        return {
            slide: median_total(sum_spots(genes, slide, choice.own[slide]))
            for slide in genes.slides
        }
    if options.normalise == "none":
        target = float("nan")
    elif options.normalise == "candidates" and choice.target is not None:
        target = choice.target
    else:
        columns = choice.candidates if options.normalise == "candidates" else None
        target = median_total(np.concatenate([sum_spots(genes, slide, columns) for slide in train]))
    return dict.fromkeys(genes.slides, target)


def _warn(
    options: PanelOptions,
    group: Group,
    choice: Choice,
    losses: gene_losses.Losses | None,
    train: list[str],
) -> list[str]:
    warnings = []
    if not options.split and options.method != "list":
        warnings.append(
            f"WARNING: chosen from all {_number(len(train), 'selected slide')}, so those that a "
            "model is tested on took part; give `train` a split and its parts before you report a "
            "result."
        )
    if options.split and (
        outside := [s for s, p in zip(group.slides.index, group.parts, strict=True) if not p]
    ):
        warnings.append(
            f"WARNING: {_number(len(outside), 'selected slide')} of the panel not in the split "
            f"{options.split}, so not chosen from: {_list(outside)}."
        )
    species = sorted(set(group.slides["species"]))
    if len(species) > 1 and options.method != "list":
        warnings.append(
            f"WARNING: the slides are of several species ({', '.join(species)}), which name their "
            "genes differently; select one."
        )
    if losses and options.share > 0 and len(train) > 1:
        warnings += [
            f"WARNING: {_name(loss.slides)} ({loss.had:,} genes) alone removed {loss.removed:,} "
            f"genes; {losses.kept:,} are left to choose from."
            for loss in losses.single
            if loss.removed > losses.kept
        ]
    return warnings


def _list(names: list[str]) -> str:
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {rest:,} more" if rest > 0 else "")


def _describe(
    name: str,
    options: PanelOptions,
    group: Group,
    genes: SlideGenes,
    choice: Choice,
    losses: gene_losses.Losses | None,
    target: dict[str, float],
    train: list[str],
    warnings: list[str],
) -> list[str]:
    """Return how the panel was chosen, in sentences: the head of its table."""
    asked = f"method {options.method}"
    if options.method == "list":
        asked += f", from {options.genes}"
    else:
        asked += f", n {options.n}, share {options.share:g}"
    lines = [f"Panel {name}: {_number(len(choice.genes), 'gene')}, {asked}.", *warnings]
    if options.split:
        lines.append(
            f"Chosen from {len(train):,} of {_number(len(genes.slides), 'selected slide')}: those "
            f"in part {', '.join(options.parts)} of the split {options.split}."
        )
    lines.append(f"Chosen from: {', '.join(train)}.")
    if losses and options.share > 0:
        lines.append(
            f"{losses.kept:,} of {losses.every:,} genes {_MUST[options.method]} "
            f"{_share(options.share, len(train))}."
        )
        lines += [
            f"{_name(loss.slides)} ({loss.had:,} genes) removed {loss.removed:,} genes that would "
            "be left otherwise."
            for loss in losses.single[:LISTED]
        ]
        if rest := losses.single[LISTED:]:
            lines.append(
                f"{len(rest):,} more slides or groups of slides removed at most "
                f"{rest[0].removed:,} genes each."
            )
    lines += _describe_names(genes, choice)
    lines.append(_describe_x(options, choice, target))
    lines.append(
        "Column slides: on how many of the selected slides the gene is printed. A gene that is not "
        "printed is not known to be zero: see varm['present'] of the .h5ad."
    )
    return lines


def _describe_names(genes: SlideGenes, choice: Choice) -> list[str]:
    lines = []
    if genes.renamed or genes.left_out:
        lines.append(
            f"Names: {_number(genes.renamed, 'printed name')} counted under another one, "
            f"{_number(genes.left_out, 'printed name')} left out."
        )
    chosen = set(choice.genes[choice.genes >= 0].tolist())
    summed: dict[int, int] = {}
    for slide in genes.slides:
        for gene in genes.sets[slide].repeated.tolist():
            summed[gene] = summed.get(gene, 0) + 1
    if summed:
        of_panel = [gene for gene in sorted(summed) if gene in chosen]
        lines.append(
            f"Columns of one name were summed: {_number(len(summed), 'name')}, {len(of_panel):,} "
            "of them in the panel"
            + "".join(
                f"; {genes.names[gene]} on {_number(summed[gene], 'slide')}" for gene in of_panel
            )
            + "."
        )
    return lines


def _describe_x(options: PanelOptions, choice: Choice, target: dict[str, float]) -> str:
    if options.normalise == "none":
        return "X is log1p of the counts, not normalised."
    if options.normalise == "slide":
        return (
            f"X is log1p of the counts normalised over the slide's own {options.n} genes, to the "
            "slide's median total over these."
        )
    over = f"the {len(choice.candidates):,} genes that could be chosen"
    over = over if options.normalise == "candidates" else "all genes of the slide"
    total = next(iter(target.values()))
    return (
        f"X is log1p of the counts normalised over {over}, to {total:,.6g}: the median total of "
        "the spots of the slides chosen from."
    )


def _write_table(path: str | Path, head: list[str], table: "pd.DataFrame") -> None:
    lines = [
        line
        for sentence in head
        for line in textwrap.wrap(sentence, 98, break_long_words=False, break_on_hyphens=False)
    ]
    text = "".join(f"# {line}\n" for line in lines)
    write_text(
        path,
        text
        + table.to_csv(
            sep="\t",
            index=False,
            float_format="%.12g",
            lineterminator="\n",
            quoting=csv.QUOTE_MINIMAL,
        ),
    )


def _stack(
    path: str | Path,
    name: str,
    options: PanelOptions,
    group: Group,
    genes: SlideGenes,
    choice: Choice,
    present: np.ndarray,
    target: dict[str, float],
    head: list[str],
) -> None:
    """Write the spots of all selected slides x the panel's genes, slide by slide."""
    slides = genes.slides
    categories = {panel_file.SLIDE: slides} | {
        fact: sorted(set(group.slides[fact]) - {""}) for fact in FACTS
    }
    categories |= {panel_file.PART: sorted(set(group.parts) - {""})} if options.split else {}
    columns = categories | SPOT_COLUMNS
    columns |= {panel_file.CHOSEN_FROM: bool, slide_anndata.TOTAL_COUNTS: np.int64}
    if options.normalise != "none":
        columns[panel_file.NORMALISED_BY] = np.int64
    codes = {
        column: {value: code for code, value in enumerate(values)}
        for column, values in categories.items()
    }
    rank = _ranks(genes, choice) if options.method == "slide_hvg" else None
    about = panel_file.PanelFacts(
        name=name,
        slides=np.array(slides, object),
        chosen_from=group.train,
        target_total=np.array([target[slide] for slide in slides]),
        options=json.dumps(asdict(options), sort_keys=True),
        head=np.array(head, object),
    )
    spots = sum(count_spots(slide, genes.paths[slide]) for slide in slides)
    var = choice.table.set_index("gene")
    with (
        atomic(path, _origins(options, genes)) as whole,
        panel_file.create(whole, spots, var, columns, present, rank, about) as writer,
    ):
        for place, slide in enumerate(slides):
            over = {"candidates": choice.candidates, "none": None, "all": None}
            totals = _append_values(
                writer,
                genes,
                slide,
                choice.genes,
                choice.own[slide] if options.normalise == "slide" else over[options.normalise],
                target[slide],
            )
            facts = dict(group.slides.loc[slide][list(FACTS)]) | {panel_file.SLIDE: slide}
            facts |= {panel_file.PART: group.parts[place]} if options.split else {}
            constant = {column: codes[column].get(facts[column], -1) for column in categories}
            names, own, spatial = _read_spots(genes.paths[slide])
            constant[panel_file.CHOSEN_FROM] = bool(group.train[place])
            writer.append(
                names,
                {column: np.full(len(names), value) for column, value in constant.items()}
                | own
                | {column: values for column, values in totals.items() if column in columns},
                spatial,
            )


def _origins(options: PanelOptions, genes: SlideGenes) -> Made:
    """Return what the panel is made from, with one digest for all slides' AnnData files."""
    lines = []
    for slide in genes.slides:
        made = read_made(genes.paths[slide])
        lines.append(f"{slide} {made.digest if made else ''}")
    return Made(
        "choose_panel",
        REVISIONS["choose_panel"],
        plain(asdict(options)),
        reads={"build_anndata": digest_of("\n".join(lines))},
    )


def _ranks(genes: SlideGenes, choice: Choice) -> np.ndarray:
    """Return each gene's rank on each slide, from 1, (genes, slides) float32; NaN if unranked."""
    ranks = np.full((len(choice.genes), len(genes.slides)), np.nan, np.float32)
    place = np.full(len(genes.names), -1)
    place[choice.genes] = np.arange(len(choice.genes))
    for column, slide in enumerate(genes.slides):
        own = place[choice.own[slide]]
        ranks[own[own >= 0], column] = np.flatnonzero(own >= 0) + 1
    return ranks


def _append_values(
    writer: panel_file.PanelWriter,
    genes: SlideGenes,
    slide: str,
    chosen: np.ndarray,
    over: np.ndarray | None,
    target: float,
) -> dict[str, np.ndarray]:
    """Write a slide's rows; return its spots' totals over all genes and over the genes ``over``."""
    columns = np.full(len(genes.names), -1, np.int32)
    columns[chosen[chosen >= 0]] = np.flatnonzero(chosen >= 0)
    counted = np.zeros(len(genes.names), np.int64)
    counted[slice(None) if over is None else over] = 1
    every, normalised_by = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for block in genes.blocks(slide):
        every.append(np.asarray(block.sum(axis=1, dtype=np.int64)).ravel())
        normalised_by.append(block @ counted)
        counts = take_columns(block, columns, len(chosen))
        writer.append_values(counts, log_normalised(counts, normalised_by[-1], target))
    return {
        slide_anndata.TOTAL_COUNTS: np.concatenate(every),
        panel_file.NORMALISED_BY: np.concatenate(normalised_by),
    }


def _read_spots(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Read names, `SPOT_COLUMNS` and positions of a slide's spots."""
    with h5py.File(path) as file:
        own = {
            column: slide_anndata.read_barcodes(file)
            if kind is str
            else slide_anndata.read_column(file, column).astype(kind)
            for column, kind in SPOT_COLUMNS.items()
        }
        return slide_anndata.read_spots(file), own, slide_anndata.read_centres(file)
