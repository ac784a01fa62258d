"""The targets of a baseline: the spots of its slides with their counts, labels and folds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from st1k4m.errors import ConfigError
from st1k4m.run.outputs import atomic

PARTS = ("train", "val", "test")
#: Columns of the table of slides, as texts; unknown values are empty.
SLIDE_COLUMNS = ("tech", "species", "tissue", "study", "patient", "part", "group")


@dataclass(frozen=True)
class Fold:
    """One division of the slides into training and test."""

    name: str
    train: list[str]
    test: list[str]


@dataclass(frozen=True)
class Targets:
    """The spots of a baseline, slide after slide.

    Attributes
    ----------
    slides
        `SLIDE_COLUMNS` by slide.
    spots
        By spot id: ``slide``; ``total``, the spot's counts over all genes of its slide; ``label``
        of the pathologist, empty for none; ``x``, ``y`` in pixels of the image.
    genes
        Names, in the order of the columns.
    counts
        ``(spots, genes)`` int32 CSR. Genes that the slide does not have are 0; see `present`.
    present
        bool ``(genes, slides)``: whether the slide has the gene.
    panels
        Genes by protocol and fold: of ``hest`` under ``all``, of ``clean`` under each fold's name.
    about
        How the targets were made: plain values for JSON.
    """

    slides: pd.DataFrame
    spots: pd.DataFrame
    genes: list[str]
    counts: sp.csr_matrix
    present: np.ndarray
    panels: dict[str, dict[str, list[str]]]
    about: dict

    def folds(self) -> list[Fold]:
        """Return the folds of the split; see `find_folds`."""
        return find_folds(self.slides["part"].to_dict())

    def rows(self, slides: list[str]) -> np.ndarray:
        """Return the rows of the spots of some slides, slide after slide in the table's order."""
        return np.flatnonzero(self.spots["slide"].isin(slides).to_numpy())

    def log_counts(self, rows: np.ndarray, genes: list[str]) -> np.ndarray:
        """Return log1p of raw counts, float64 ``(rows, genes)``: HEST's target."""
        return np.log1p(self._dense(rows, genes))

    def normalised(self, rows: np.ndarray, genes: list[str], total: float) -> np.ndarray:
        """Return log1p of counts normalised to ``total``, float64 ``(rows, genes)``.

        A spot's counts are divided by its total over all genes of its slide, not only of the panel.
        If the slide does not have a gene, the value is NaN, because not measured is not zero.
        """
        totals = self.spots["total"].to_numpy()[rows]
        scale = np.divide(total, totals, out=np.zeros(len(rows)), where=totals > 0)
        found = np.log1p(self._dense(rows, genes) * scale[:, None])
        column = self.slides.index.get_indexer(self.spots["slide"].to_numpy()[rows])
        there = self.present[self._columns(genes)].T[column]
        found[~there] = np.nan
        return found

    def _columns(self, genes: list[str]) -> np.ndarray:
        return pd.Index(self.genes).get_indexer(genes)

    def _dense(self, rows: np.ndarray, genes: list[str]) -> np.ndarray:
        return self.counts[rows][:, self._columns(genes)].toarray().astype(np.float64)


def find_folds(parts: dict[str, str]) -> list[Fold]:
    """Return the folds of a split.

    Parameters
    ----------
    parts
        The part of each slide: ``train``, ``val`` and ``test``, or a fold ``0``, ``1``, ...

    Returns
    -------
    list of Fold
        One for each fold, tested on it and trained on all other folds; or only the fold ``test``,
        trained on ``train`` and ``val``, where penalties are chosen by groups within both.

    Raises
    ------
    ConfigError
        A fold has no training slide or no test slide.
    """
    found = sorted(set(parts.values()), key=lambda part: (len(part), part))
    tested = ["test"] if set(found) <= set(PARTS) else found
    folds = [
        Fold(
            name,
            [slide for slide, part in parts.items() if part != name],
            [slide for slide, part in parts.items() if part == name],
        )
        for name in tested
    ]
    for fold in folds:
        for what, slides in (("training", fold.train), ("test", fold.test)):
            if not slides:
                raise ConfigError(
                    f"fold {fold.name} has no {what} slide among the baseline's {len(parts)}; "
                    "choose a split with fewer folds, or a panel that selects more slides"
                )
    return folds


def read_slides(slides: str | Path, split: str | Path, selected: list[str]) -> pd.DataFrame:
    """Join the collection's table of slides and a split, for the slides of a baseline.

    Parameters
    ----------
    slides
        ``collection/slides.tsv``.
    split
        ``collection/splits/{name}.tsv``: slide, part, group.
    selected
        The slides that the panel selects. Slides that are not in the split are left out.

    Returns
    -------
    pandas.DataFrame
        `SLIDE_COLUMNS` as texts, by slide, in the order of the table of slides.

    Raises
    ------
    ConfigError
        A table lacks a column; no slide remains.
    """
    table = _read_table(slides, ("slide", *SLIDE_COLUMNS[:-2]))
    parts = _read_table(split, ("slide", "part", "group"))
    joined = table.set_index("slide").join(parts.set_index("slide")[["part", "group"]], how="inner")
    joined = joined.loc[joined.index.isin(selected), list(SLIDE_COLUMNS)]
    if joined.empty:
        raise ConfigError(
            f"none of the {len(selected)} slides that the panel selects is in {split}; "
            "compare the panel's select with the slides that the split leaves out"
        )
    return joined


def write_targets(path: str | Path, targets: Targets) -> None:
    """Write targets as an AnnData file, whole or not at all."""
    import anndata

    adata = anndata.AnnData(
        X=targets.counts,
        obs=targets.spots.drop(columns=["x", "y"]),
        var=pd.DataFrame(index=pd.Index(targets.genes, dtype=object)),
        obsm={"spatial": targets.spots[["x", "y"]].to_numpy(np.float64)},
        varm={"present": targets.present},
        uns={
            "slides": targets.slides,
            "panels": {
                protocol: {fold: np.array(genes, object) for fold, genes in folds.items()}
                for protocol, folds in targets.panels.items()
            },
            "about": _to_json(targets.about),
        },
    )
    with atomic(path) as temporary:
        adata.write_h5ad(temporary)


def read_targets(path: str | Path) -> Targets:
    """Read what `write_targets` wrote."""
    import json

    import anndata

    adata = anndata.read_h5ad(path)
    spots = adata.obs.astype({"slide": object, "label": object})
    spots["x"], spots["y"] = adata.obsm["spatial"].T
    panels = {
        protocol: {fold: list(genes) for fold, genes in folds.items()}
        for protocol, folds in adata.uns["panels"].items()
    }
    return Targets(
        adata.uns["slides"].astype(object),
        spots,
        adata.var_names.tolist(),
        sp.csr_matrix(adata.X),
        np.asarray(adata.varm["present"], bool),
        panels,
        json.loads(adata.uns["about"]),
    )


def _to_json(about: dict) -> str:
    import json

    return json.dumps(about, sort_keys=True)


def _read_table(path: str | Path, columns: tuple[str, ...]) -> pd.DataFrame:
    table = pd.read_csv(path, sep="\t", comment="#", dtype=str, keep_default_na=False)
    lacking = [name for name in columns if name not in table.columns]
    if lacking:
        raise ConfigError(
            f"{path} has no column {', '.join(lacking)}; remove the file and run again"
        )
    return table
