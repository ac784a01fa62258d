"""Measure how well an encoder's features separate the pathologists' labels of a slide.

The dataset's authors score raw embeddings slide by slide (their note 08). In addition, the clean
protocol scores features that are scaled and reduced; this is learned from the other folds.
"""

import logging
from pathlib import Path

import numpy as np

from st1k4m.baseline.features import describe, read_all, stack
from st1k4m.baseline.numbers import versions, write_json
from st1k4m.baseline.ridge import reduce_features
from st1k4m.baseline.targets import Fold, Targets, read_targets

log = logging.getLogger(__name__)

METRICS = ("silhouette", "calinski_harabasz", "davies_bouldin")
AUTHORS, CLEAN = "authors", "clean"
#: Largest number of spots of a silhouette, which has all distances in memory: 3.2 GB for 20,000.
SILHOUETTE_SPOTS = 20_000


def score_clusters(
    targets: str | Path, features: dict[str, str | Path], scores: str | Path, *, encoder: str
) -> None:
    """Score every slide that has two or more labels, with both protocols.

    Parameters
    ----------
    targets
        The file that ``collect_targets`` wrote.
    features
        The features of each slide by this encoder.
    scores
        JSON: by slide its group, tissue and labels, and `METRICS` by protocol.
    encoder
        Name of the encoder.
    """
    found = read_targets(targets)
    read = read_all(found, features, encoder)
    matrix = stack(found, read)
    slides: dict[str, dict] = {}
    for fold in found.folds():
        slides |= score_fold(found, matrix, fold)
    if not slides:
        log.warning("no slide of this baseline has spots with two or more labels: nothing to score")
    write_json(
        scores,
        {"encoder": encoder, "features": describe(read), "slides": slides, "versions": versions()},
    )


def score_fold(targets: Targets, matrix: np.ndarray, fold: Fold) -> dict[str, dict]:
    """Score the test slides of a fold that have two or more labels; see `score_clusters`."""
    labels = targets.spots["label"].to_numpy().astype(str)
    rows = {slide: targets.rows([slide]) for slide in fold.test}
    rows = {slide: where[labels[where] != ""] for slide, where in rows.items()}
    rows = {slide: where for slide, where in rows.items() if _can_be_scored(labels[where])}
    if not rows:
        return {}
    together = np.concatenate(list(rows.values()))
    _, reduced = reduce_features(matrix[targets.rows(fold.train)], matrix[together])
    place = dict(zip(together.tolist(), range(len(together)), strict=True))
    return {
        slide: {
            "group": targets.slides.at[slide, "group"],
            "tissue": targets.slides.at[slide, "tissue"],
            "labels": len(set(labels[where])),
            "spots": len(where),
            "protocols": {
                AUTHORS: measure(matrix[where], labels[where]),
                CLEAN: measure(reduced[[place[row] for row in where]], labels[where]),
            },
        }
        for slide, where in rows.items()
    }


def measure(features: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return `METRICS` of features ``(n, d)`` and their labels ``(n,)``.

    For the silhouette at most `SILHOUETTE_SPOTS` spots are drawn at random.
    """
    from sklearn import metrics

    sample = SILHOUETTE_SPOTS if len(labels) > SILHOUETTE_SPOTS else None
    return {
        "silhouette": float(
            metrics.silhouette_score(features, labels, sample_size=sample, random_state=0)
        ),
        "calinski_harabasz": float(metrics.calinski_harabasz_score(features, labels)),
        "davies_bouldin": float(metrics.davies_bouldin_score(features, labels)),
    }


def _can_be_scored(labels: np.ndarray) -> bool:
    return 2 <= len(set(labels)) < len(labels)
