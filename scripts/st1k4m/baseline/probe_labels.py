"""Measure how well a linear classifier predicts pathologists' labels from an encoder's features.

The dataset's authors draw training, validation and test spots at random from all slides of a study
(their note 07), so the neighbours of a test spot are training spots. Here the same classifier is
also tested on slides and studies that were not used for training.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from st1k4m.baseline.features import describe, read_all, stack
from st1k4m.baseline.numbers import versions, write_json
from st1k4m.baseline.scores import mean_of
from st1k4m.baseline.targets import Targets, read_targets

log = logging.getLogger(__name__)

#: Penalties, seeds, fractions and iterations of the authors' note 07.
ALPHAS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
SEEDS = range(5)
SHARES = (0.8, 0.1)
ITERATIONS = 10_000
#: Largest number of folds when slides or studies are left out.
FOLDS = 5
#: Protocols: the authors', by slide or patient within a study, and by study.
AUTHORS, BY_SLIDE, BY_STUDY = "authors", "held_out_slides", "held_out_studies"


def probe_labels(
    targets: str | Path, features: dict[str, str | Path], scores: str | Path, *, encoder: str
) -> None:
    """Probe an encoder on every study that has labels, with the three protocols.

    Parameters
    ----------
    targets
        The file that ``collect_targets`` wrote.
    features
        The features of each slide by this encoder.
    scores
        JSON: by study, its labels, and macro F1 by protocol and fold.
    encoder
        Name of the encoder.

    Raises
    ------
    SlideError
        See `read_all` and `stack`.
    """
    found = read_targets(targets)
    read = read_all(found, features, encoder)
    matrix = stack(found, read)
    studies = [
        probe_study(found, matrix, study)
        for study in sorted(set(found.slides["study"]))
        if _is_labelled(found, study)
    ]
    if not studies:
        log.warning("no study of this baseline has spots with two or more labels: nothing to probe")
    write_json(
        scores,
        {
            "encoder": encoder,
            "features": describe(read),
            "studies": studies,
            "versions": versions(),
        },
    )


def probe_study(targets: Targets, matrix: np.ndarray, study: str) -> dict:
    """Probe the labels of one study.

    Parameters
    ----------
    targets
        The spots and their labels.
    matrix
        Their features, ``(spots, d)``.
    study
        A study with two or more labels.

    Returns
    -------
    dict
        ``study``, ``tissue``, ``labels`` (spots by label) and ``protocols``: by protocol ``unit``,
        ``alpha`` and ``folds``. A fold has ``test``, ``macro_f1`` and ``unseen``: labels that only
        the test part has; the classifier cannot know them, so they count as wrong. A protocol is
        left out if there are too few slides or studies for it.
    """
    slide = targets.spots["slide"].to_numpy()
    label = targets.spots["label"].to_numpy()
    of_study = targets.slides["study"][slide].to_numpy() == study
    here = np.flatnonzero(of_study & (label != ""))
    names, numbers = np.unique(label[here].astype(str), return_counts=True)
    unit, units = _units(targets, slide[here])
    protocols = {AUTHORS: _probe_random_spots(matrix[here], label[here])}
    if len(set(units)) > 1:
        folds = _leave_out(units)
        protocols[BY_SLIDE] = {"unit": unit} | _probe_folds(matrix[here], label[here], units, folds)
    group = targets.slides["group"][slide].to_numpy()
    elsewhere = np.flatnonzero(
        ~of_study & np.isin(label.astype(str), names) & ~np.isin(group, group[here])
    )
    if len(set(label[elsewhere])) > 1 and len(set(group[elsewhere])) > 1:
        rows = np.concatenate([elsewhere, here])
        where = np.arange(len(rows))
        folds = [(where[: len(elsewhere)], where[len(elsewhere) :])]
        protocols[BY_STUDY] = {"unit": "group"} | _probe_folds(
            matrix[rows], label[rows], group[rows], folds
        )
    return {
        "study": study,
        "tissue": "; ".join(sorted(set(targets.slides["tissue"][slide[here]]))),
        "labels": dict(zip(names.tolist(), numbers.tolist(), strict=True)),
        "protocols": protocols,
    }


def _is_labelled(targets: Targets, study: str) -> bool:
    slides = targets.slides.index[targets.slides["study"] == study]
    labels = set(targets.spots["label"].to_numpy()[targets.rows(slides.tolist())]) - {""}
    return len(labels) > 1


def _units(targets: Targets, slide: np.ndarray) -> tuple[str, np.ndarray]:
    """Return the units left out within a study: its patients if all are known, else its slides."""
    patient = targets.slides["patient"][slide].to_numpy()
    return ("patient", patient) if (patient != "").all() else ("slide", slide)


def _probe_random_spots(features: np.ndarray, labels: np.ndarray) -> dict:
    """Probe as the authors do: random spots; choose the penalty by mean F1 on validation spots."""
    divided = []
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(len(labels))
        first, second = (round(share * len(labels)) for share in np.cumsum(SHARES))
        divided.append((seed, order[:first], order[first:second], order[second:]))
    models = {
        (alpha, seed): _fit(features[train], labels[train], alpha, seed)
        for seed, train, _, _ in divided
        for alpha in ALPHAS
    }
    validated = {
        alpha: np.mean(
            [
                score_f1(labels[valid], models[alpha, seed].predict(features[valid]))
                for seed, _, valid, _ in divided
            ]
        )
        for alpha in ALPHAS
    }
    best = max(ALPHAS, key=lambda alpha: validated[alpha])
    return {
        "unit": "spot",
        "alpha": best,
        "folds": [
            {
                "test": f"seed {seed}",
                "macro_f1": score_f1(labels[test], models[best, seed].predict(features[test])),
                "unseen": sorted(set(labels[test]) - set(labels[train])),
            }
            for seed, train, _, test in divided
        ],
    }


def _probe_folds(
    features: np.ndarray, labels: np.ndarray, units: np.ndarray, folds: Iterable
) -> dict:
    """Probe on left-out units; choose the penalty of each fold by leaving out training units."""
    done = []
    for train, test in folds:
        alpha = _choose_alpha(features[train], labels[train], units[train])
        predicted = _fit(features[train], labels[train], alpha, 0).predict(features[test])
        by_unit = {
            str(unit): score_f1(labels[test][units[test] == unit], predicted[units[test] == unit])
            for unit in sorted(set(units[test]))
        }
        done.append(
            {
                "test": sorted(map(str, set(units[test]))),
                "alpha": alpha,
                "macro_f1": score_f1(labels[test], predicted),
                "units": by_unit,
                "unseen": sorted(set(labels[test]) - set(labels[train])),
            }
        )
    return {"folds": done}


def _choose_alpha(features: np.ndarray, labels: np.ndarray, units: np.ndarray) -> float:
    """Return the penalty with the best mean F1 on left-out units, or spots if there is one unit."""
    several = len(set(units)) > 1
    folds = _leave_out(units if several else np.arange(len(units)) % FOLDS)
    scores = {
        alpha: mean_of(
            [
                score_f1(
                    labels[valid],
                    _fit(features[kept], labels[kept], alpha, 0).predict(features[valid]),
                )
                for kept, valid in folds
                if len(set(labels[kept])) > 1
            ]
        )
        for alpha in ALPHAS
    }
    return max(ALPHAS, key=lambda alpha: np.nan_to_num(scores[alpha], nan=-1))


def _leave_out(units: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import GroupKFold

    return list(GroupKFold(min(FOLDS, len(set(units)))).split(units, groups=units.astype(str)))


def _fit(features: np.ndarray, labels: np.ndarray, alpha: float, seed: int):
    from sklearn.linear_model import SGDClassifier

    model = SGDClassifier(
        loss="log_loss",
        penalty="l2",
        alpha=alpha,
        class_weight="balanced",
        max_iter=ITERATIONS,
        random_state=seed,
    )
    return model.fit(features, labels.astype(str))


def score_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Return the macro F1: the mean over the labels that occur in the test part.

    scikit-learn's default also averages over labels that were only predicted; then one wrong spot
    lowers the score of a part with few labels twice.
    """
    from sklearn.metrics import f1_score

    labels = labels.astype(str)
    return float(
        f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)
    )
