"""Choose the genes of a baseline, and collect the expression that its encoders predict.

This is done once per baseline: to fit an encoder then needs one file instead of every slide's
AnnData.
"""

import hashlib
import logging
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from st1k4m.baseline.targets import Fold, Targets, find_folds, read_slides, write_targets
from st1k4m.collection.gene_names import read_renames
from st1k4m.collection.panel_methods import CHOOSERS, sum_spots
from st1k4m.collection.panel_options import PanelOptions
from st1k4m.collection.slide_genes import SlideGenes
from st1k4m.errors import ConfigError, SlideError
from st1k4m.formats import slide_anndata
from st1k4m.formats.slide_anndata import TILE
from st1k4m.run.products import read_made

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TargetOptions:
    """Options for the genes and spots of a baseline.

    Attributes
    ----------
    panel
        How the genes of ``clean`` are chosen in each fold, from its training slides only. Its
        ``split`` and ``parts`` are not used: the folds are the baseline's own.
    hest_genes
        Number of genes of ``hest``, chosen by HEST's method over all slides; 50 in its benchmark.
    max_spots
        Largest number of spots of a slide, drawn at random with the seed; None for all spots.
    seed
        Seed of the draw.
    """

    panel: PanelOptions
    hest_genes: int = 50
    max_spots: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class _Slide:
    """The spots of a slide that have a tile, and their counts."""

    spots: pd.DataFrame
    counts: sp.csr_matrix


def collect_targets(
    anndata: dict[str, str | Path],
    slides: str | Path,
    split: str | Path,
    out: str | Path,
    options: TargetOptions,
) -> None:
    """Choose the genes of a baseline by protocol and fold, and write the counts of its spots.

    Parameters
    ----------
    anndata
        The AnnData file of each slide that the panel selects.
    slides, split
        Tables of the collection: ``slides.tsv`` and ``splits/{name}.tsv``.
    out
        The targets; see `Targets`.
    options
        Options for genes and spots.

    Raises
    ------
    ConfigError
        A fold of the split has no slides, or a method finds no gene.
    SlideError
        A slide's AnnData is damaged, or belongs to another slide.
    """
    table = read_slides(slides, split, list(anndata))
    paths = {name: anndata[name] for name in table.index}
    folds = find_folds(table["part"].to_dict())
    panels = choose_panels(paths, folds, options)
    every = SlideGenes(paths, options.panel.names, _renames(options.panel))
    place = {gene: number for number, gene in enumerate(every.names)}
    wanted = {gene for panel in panels.values() for genes in panel.values() for gene in genes}
    columns = np.array(sorted(place[gene] for gene in wanted if gene in place), np.int64)
    parts = [_read_slide(name, every, columns, options) for name in paths]
    targets = Targets(
        table,
        pd.concat([part.spots for part in parts]),
        [every.names[column] for column in columns],
        sp.vstack([part.counts for part in parts], "csr"),
        every.printed()[columns],
        panels,
        {
            "split": Path(split).stem,
            "panel": _plain(asdict(options.panel)),
            "hest_genes": options.hest_genes,
            "max_spots": options.max_spots,
            "seed": options.seed,
            "tiles": {name: _tiles_of(paths[name]) for name in paths},
            "sha256": _digest(parts),
        },
    )
    write_targets(out, targets)
    log.info(
        "%d spots of %d slides in %d folds; %d genes in all",
        *(len(targets.spots), len(table), len(folds), len(targets.genes)),
    )


def choose_panels(
    paths: dict[str, str | Path], folds: list[Fold], options: TargetOptions
) -> dict[str, dict[str, list[str]]]:
    """Return the genes of each protocol by fold.

    Returns
    -------
    dict
        ``hest``: one panel, ``all``, from all slides including test slides, as in HEST.
        ``clean``: one panel per fold, from its training slides only.

    Raises
    ------
    ConfigError
        A method finds no gene.
    """
    hest = replace(options.panel, method="hest", n=options.hest_genes, share=1.0)
    clean = {
        fold.name: _choose({slide: paths[slide] for slide in fold.train}, options.panel)
        for fold in folds
    }
    return {"hest": {"all": _choose(paths, hest)}, "clean": clean}


def _choose(paths: dict[str, str | Path], options: PanelOptions) -> list[str]:
    """Return the genes chosen from ``paths``; only these slides are opened."""
    genes = SlideGenes(paths, options.names, _renames(options))
    chosen = CHOOSERS[options.method](genes, list(paths), options).table["gene"].tolist()
    # A gene of a list cannot be learned if no training slide has it.
    printed = set(genes.names)
    chosen = [gene for gene in chosen if gene in printed]
    if not chosen:
        raise ConfigError(
            f"method {options.method} finds no gene that {len(paths)} slides have in common; "
            "lower the panel's share, or select slides in which the same genes were measured"
        )
    return chosen


def _renames(options: PanelOptions) -> dict[str, str]:
    return dict(read_renames(options.names.rename)) if options.names.rename else {}


def _read_slide(
    name: str, genes: SlideGenes, columns: np.ndarray, options: TargetOptions
) -> _Slide:
    """Read the spots of a slide that have a tile, and their counts of the genes in ``columns``."""
    path = genes.paths[name]
    try:
        with h5py.File(path) as file:
            ids, tile = slide_anndata.read_spots(file), slide_anndata.read_column(file, TILE)
            spatial = slide_anndata.read_centres(file)
            codes, labels = slide_anndata.read_labels(file) or (np.full(len(ids), -1), [])
    except (OSError, KeyError) as error:
        hint = f"remove {path} and run again: build_anndata makes it again"
        raise SlideError(name, f"{path} cannot be read: {error}", hint) from error
    kept = np.flatnonzero(tile >= 0)
    if options.max_spots is not None and len(kept) > options.max_spots:
        rng = np.random.default_rng([options.seed, zlib.crc32(name.encode())])
        kept = np.sort(rng.choice(kept, options.max_spots, replace=False))
    spots = pd.DataFrame(
        {
            "slide": name,
            "total": sum_spots(genes, name)[kept].astype(np.float64),
            "label": np.array([*labels, ""], object)[codes[kept]],
            "x": spatial[kept, 0],
            "y": spatial[kept, 1],
        },
        index=pd.Index(ids[kept], dtype=object),
    )
    counts = sp.vstack(list(genes.blocks(name, columns)), "csr")
    return _Slide(spots, counts[kept])


def _tiles_of(path: str | Path) -> str:
    """Return the identity of the tile store from which an AnnData was made; empty if unknown."""
    made = read_made(path)
    return made.reads.get("cut_tiles", "") if made else ""


def _digest(parts: list[_Slide]) -> str:
    """Return the sha256 over the names of the spots, their totals and counts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update("\n".join(part.spots.index).encode())
        digest.update(part.spots["total"].to_numpy().tobytes())
        for values in (part.counts.indptr, part.counts.indices, part.counts.data):
            digest.update(np.asarray(values, np.int64).tobytes())
    return digest.hexdigest()


def _plain(value):
    """Return options as JSON stores them: tuples become lists."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return list(value) if isinstance(value, tuple) else value
