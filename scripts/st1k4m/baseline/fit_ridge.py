"""Measure how well an encoder's features predict expression, with HEST's and a clean protocol."""

from pathlib import Path

import numpy as np

from st1k4m.baseline.features import describe, read_all, stack
from st1k4m.baseline.numbers import versions, write_json
from st1k4m.baseline.ridge import fit_clean, fit_hest
from st1k4m.baseline.scores import correlate, varies
from st1k4m.baseline.targets import Fold, Targets, read_targets
from st1k4m.errors import ConfigError

#: The baseline without features: the prediction of every test spot is the mean of training spots.
TRAINING_MEAN = "training_mean"
#: Why a correlation is not defined.
ABSENT, CONSTANT, FLAT = "not measured", "constant in the slide", "prediction is constant"
#: Numbers of best and of worst genes that are painted, and the largest number of spots.
PAINTED, PAINTED_SPOTS = 3, 6000


def fit_ridge(
    targets: str | Path,
    features: dict[str, str | Path],
    scores: str | Path,
    painted: str | Path,
    *,
    encoder: str,
) -> None:
    """Fit and test an encoder in every fold, and write every number.

    Parameters
    ----------
    targets
        The file that ``collect_targets`` wrote.
    features
        The features of each slide by this encoder; empty for `TRAINING_MEAN`.
    scores
        JSON: the numbers by protocol, fold, slide and gene.
    painted
        JSON: measured and predicted expression on one slide, for the best and the worst genes.
    encoder
        Name of the encoder.

    Raises
    ------
    SlideError
        The features of a slide do not fit its spots, or another encoder made them.
    ConfigError
        A fold cannot be fitted.
    """
    found = read_targets(targets)
    read = read_all(found, features, encoder) if encoder != TRAINING_MEAN else None
    matrix = np.zeros((len(found.spots), 1)) if read is None else stack(found, read)
    hest = [run_hest(found, matrix, fold, encoder) for fold in found.folds()]
    clean, predictions = [], {}
    for fold in found.folds():
        result, predicted = run_clean(found, matrix, fold, encoder)
        clean.append(result)
        predictions[fold.name] = predicted
    about = {
        "encoder": encoder,
        "dimensions": 0 if read is None else matrix.shape[1],
        "features": describe(read),
        "targets": found.about,
        "slides": found.slides.to_dict("index"),
        "versions": versions(),
    }
    write_json(scores, about | {"protocols": {"hest": hest, "clean": clean}})
    write_json(painted, paint(found, clean, predictions))


def run_hest(targets: Targets, matrix: np.ndarray, fold: Fold, encoder: str) -> dict:
    """Fit one fold as HEST's benchmark does.

    Returns
    -------
    dict
        ``pearson``: one number per gene over all test spots, and under ``tissues`` over the test
        spots of one tissue; NaN if it is not defined, which makes HEST's mean undefined as well.
    """
    genes = targets.panels["hest"]["all"]
    train, test = targets.rows(fold.train), targets.rows(fold.test)
    known, measured = targets.log_counts(train, genes), targets.log_counts(test, genes)
    if encoder == TRAINING_MEAN:
        predicted, facts = _mean(known, len(test)), {"dimensions": 0, "alpha": None}
    else:
        fit = fit_hest(matrix[train], known, matrix[test])
        predicted, facts = fit.predicted, {"dimensions": fit.dimensions, "alpha": fit.alpha}
    tissue = targets.slides["tissue"][targets.spots["slide"].to_numpy()[test]].to_numpy()
    return {
        **_name(fold),
        **facts,
        "genes": genes,
        "spots": {"train": len(train), "test": len(test)},
        "pearson": correlate(measured, predicted),
        "tissues": {
            name: correlate(measured[tissue == name], predicted[tissue == name])
            for name in sorted(set(tissue))
        },
    }


def run_clean(
    targets: Targets, matrix: np.ndarray, fold: Fold, encoder: str
) -> tuple[dict, dict[str, np.ndarray]]:
    """Fit one fold; everything is learned from its training slides only.

    Returns
    -------
    dict
        By test slide: group, ``pearson`` and ``mse`` per gene, and why a gene has no correlation.
    dict
        By test slide: measured and predicted expression, ``(2, spots, genes)``.

    Raises
    ------
    ConfigError
        The training part is a single slide, so no penalty can be chosen.
    """
    genes = targets.panels["clean"][fold.name]
    train = targets.rows(fold.train)
    total = float(np.median(targets.spots["total"].to_numpy()[train]))
    known = targets.normalised(train, genes, total)
    slides = targets.spots["slide"].to_numpy()
    groups = targets.slides["group"][slides[train]].tolist()
    test = targets.rows(fold.test)
    if encoder == TRAINING_MEAN:
        predicted = _mean(known, len(test))
        facts = {"dimensions": 0, "alpha": None, "alpha_by": None}
    else:
        try:
            fit = fit_clean(matrix[train], known, groups, slides[train].tolist(), matrix[test])
        except ValueError as error:
            raise ConfigError(
                f"fold {fold.name}: {error}; choose a split with more training slides"
            ) from error
        predicted = fit.predicted
        facts = {"dimensions": fit.dimensions, "alpha": fit.alpha, "alpha_by": fit.validated_by}
    result = {
        **_name(fold),
        **facts,
        "genes": genes,
        "normalised_to": total,
        "spots": {"train": len(train), "test": len(test)},
        "slides": {},
    }
    kept = {}
    for slide in fold.test:
        here = slides[test] == slide
        measured = targets.normalised(test[here], genes, total)
        result["slides"][slide] = {
            "group": targets.slides.at[slide, "group"],
            "tissue": targets.slides.at[slide, "tissue"],
            "spots": int(here.sum()),
            "pearson": correlate(measured, predicted[here]),
            "mse": ((measured - predicted[here]) ** 2).mean(axis=0),
            "undefined": find_undefined(genes, measured, predicted[here]),
        }
        kept[slide] = np.stack([measured, predicted[here]])
    return result, kept


def find_undefined(genes: list[str], measured: np.ndarray, predicted: np.ndarray) -> dict[str, str]:
    """Return the genes that have no correlation on a slide, each with the reason."""
    absent, constant = np.isnan(measured).any(axis=0), ~varies(measured)
    flat = ~varies(predicted)
    return {
        gene: ABSENT if absent[number] else CONSTANT if constant[number] else FLAT
        for number, gene in enumerate(genes)
        if absent[number] or constant[number] or flat[number]
    }


def paint(
    targets: Targets, folds: list[dict], predictions: dict[str, dict[str, np.ndarray]]
) -> dict:
    """Return measured and predicted expression of the best and worst genes on one slide.

    The slide is the test slide with the most spots, but at most `PAINTED_SPOTS`; of slides with
    equal numbers the first by name.

    Returns
    -------
    dict
        ``slide``, ``x``, ``y``, and under ``genes``, best first: ``gene``, ``pearson``,
        ``measured`` and ``predicted``. Empty if no gene has a correlation.
    """
    candidates = [
        (fold, slide, facts)
        for fold in folds
        for slide, facts in fold["slides"].items()
        if facts["spots"] <= PAINTED_SPOTS and not np.isnan(facts["pearson"]).all()
    ]
    if not candidates:
        return {}
    fold, slide, facts = min(candidates, key=lambda entry: (-entry[2]["spots"], entry[1]))
    order = [int(number) for number in np.argsort(-facts["pearson"], kind="stable")]
    order = [number for number in order if not np.isnan(facts["pearson"][number])]
    shown = order if len(order) <= 2 * PAINTED else order[:PAINTED] + order[-PAINTED:]
    spots = targets.spots.iloc[targets.rows([slide])]
    measured, predicted = predictions[fold["fold"]][slide]
    return {
        "slide": slide,
        "fold": fold["fold"],
        "x": spots["x"].round(1).tolist(),
        "y": spots["y"].round(1).tolist(),
        "genes": [
            {
                "gene": fold["genes"][number],
                "pearson": float(facts["pearson"][number]),
                "measured": measured[:, number].round(3).tolist(),
                "predicted": predicted[:, number].round(3).tolist(),
            }
            for number in shown
        ],
    }


def _name(fold: Fold) -> dict:
    return {"fold": fold.name, "train": fold.train, "test": fold.test}


def _mean(known: np.ndarray, spots: int) -> np.ndarray:
    return np.tile(np.nanmean(known, axis=0), (spots, 1))
