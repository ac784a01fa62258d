"""Ridge regression of expression on features, as HEST's benchmark does it and as it should be done.

scikit-learn does the work; what differs between the two is which numbers are learned from what.
"""

from dataclasses import dataclass

import numpy as np

from st1k4m.baseline.scores import correlate, mean_of

#: Of HEST's benchmark (src/hest/bench/trainer.py and benchmark.py, commit afd42c3).
COMPONENTS = 256
HEST_ALPHA = 100.0
HEST_ITERATIONS = 1000
HEST_SEED = 1
#: Penalties that are tried, each times the number of training spots, which makes it a share of the
#: features' own variance.
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
#: Parts of the training slides for choosing the penalty.
VALIDATION_FOLDS = 5


@dataclass(frozen=True)
class Fit:
    """What a ridge predicts for the test spots.

    Attributes
    ----------
    predicted
        float64 ``(n, genes)``.
    dimensions
        Principal components that were used.
    alpha
        scikit-learn's penalty.
    validated_by
        What the penalty was chosen over: ``group``, ``slide``, or ``recipe`` where it is stated.
    """

    predicted: np.ndarray
    dimensions: int
    alpha: float
    validated_by: str


def fit_hest(train: np.ndarray, target: np.ndarray, test: np.ndarray) -> Fit:
    """Predict expression as HEST's benchmark does.

    Features are standardised and brought to `COMPONENTS` principal components, both learned from
    the training spots; the ridge has no intercept, though the target is not centred, and
    ``alpha = 100 / (components x genes)``.

    Parameters
    ----------
    train, test
        Features, ``(n, d)``.
    target
        log1p of raw counts of the training spots, ``(n, genes)``.
    """
    from sklearn.linear_model import Ridge
    from threadpoolctl import threadpool_limits

    # lsqr stops at a tolerance of 1e-4, at a step that rounding decides where features are alike:
    # with another number of cores a gene's correlation moved by 0.004. So one core, always.
    with threadpool_limits(1):
        train, test = reduce_features(train, test)
        alpha = HEST_ALPHA / (train.shape[1] * target.shape[1])
        ridge = Ridge(
            alpha=alpha,
            solver="lsqr",
            fit_intercept=False,
            max_iter=HEST_ITERATIONS,
            random_state=HEST_SEED,
        ).fit(train, np.asarray(target, np.float64))
        predicted = _columns(ridge.predict(test))
    return Fit(predicted, train.shape[1], alpha, "recipe")


def fit_clean(
    train: np.ndarray,
    target: np.ndarray,
    groups: list[str],
    slides: list[str],
    test: np.ndarray,
) -> Fit:
    """Predict expression with an intercept and a penalty chosen within the training spots.

    The penalty is the one whose predictions for groups left out correlate best with what was
    measured, per slide and gene; where the training slides are all of one group, for slides left
    out. Scaling and components are learned from all training spots, without looking at expression.

    Parameters
    ----------
    train, test
        Features, ``(n, d)``.
    target
        Expression of the training spots, ``(n, genes)``; NaN where a slide has no such gene.
    groups, slides
        Group and slide of each training spot.

    Raises
    ------
    ValueError
        The training spots are of one slide alone, so that no penalty can be chosen; or a gene is
        measured in none of them.
    """
    train, test = reduce_features(train, test)
    target = np.asarray(target, np.float64)
    measured = ~np.isnan(target)
    if not measured.any(axis=0).all():
        raise ValueError("a gene was measured in no training slide")
    validated_by = "group" if len(set(groups)) > 1 else "slide"
    units = np.array(groups if validated_by == "group" else slides)
    if len(set(units)) < 2:
        raise ValueError("the training part is one slide alone: no penalty can be chosen")
    penalty = _choose_penalty(train, target, units, np.array(slides))
    alpha = penalty * len(train)
    return Fit(_predict(train, target, test, penalty), train.shape[1], alpha, validated_by)


def reduce_features(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardise features and bring them to their first principal components.

    Both are learned from ``train`` alone, `COMPONENTS` or as many as there are.

    Parameters
    ----------
    train, test
        ``(n, d)``.

    Returns
    -------
    tuple of numpy.ndarray
        Both as float64 ``(n, components)``.
    """
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = (np.asarray(features, np.float64) for features in (train, test))
    components = min(COMPONENTS, *train.shape)
    steps = make_pipeline(StandardScaler(), PCA(components, random_state=HEST_SEED))
    return steps.fit_transform(train), steps.transform(test)


def _choose_penalty(
    train: np.ndarray, target: np.ndarray, units: np.ndarray, slides: np.ndarray
) -> float:
    from sklearn.model_selection import GroupKFold

    folds = GroupKFold(min(VALIDATION_FOLDS, len(set(units))))
    scores: dict[float, list[np.ndarray]] = {penalty: [] for penalty in PENALTIES}
    for kept, left_out in folds.split(train, groups=units):
        known = ~np.isnan(target[kept]).all(axis=0)
        for penalty in PENALTIES:
            predicted = _predict(train[kept], target[kept][:, known], train[left_out], penalty)
            measured = target[left_out][:, known]
            for slide in np.unique(slides[left_out]):
                here = slides[left_out] == slide
                scores[penalty].append(correlate(measured[here], predicted[here]))
    # Of equal penalties, and where no correlation is defined, the strongest.
    means = [mean_of(np.concatenate(scores[penalty])) for penalty in PENALTIES]
    best = np.nanmax(means) if not np.isnan(means).all() else np.nan
    return max(
        penalty
        for penalty, mean in zip(PENALTIES, means, strict=True)
        if mean == best or np.isnan(best)
    )


def _predict(train: np.ndarray, target: np.ndarray, test: np.ndarray, penalty: float) -> np.ndarray:
    """Fit genes that were measured in the same spots together, and predict them."""
    from sklearn.linear_model import Ridge

    predicted = np.empty((len(test), target.shape[1]))
    patterns, which = np.unique(~np.isnan(target), axis=1, return_inverse=True)
    for number, measured in enumerate(patterns.T):
        genes = np.flatnonzero(which.ravel() == number)
        ridge = Ridge(alpha=penalty * measured.sum(), solver="cholesky")
        ridge.fit(train[measured], target[np.ix_(measured, genes)])
        predicted[:, genes] = _columns(ridge.predict(test))
    return predicted


def _columns(predicted: np.ndarray) -> np.ndarray:
    """Give a single gene's prediction its column back."""
    return predicted.reshape(len(predicted), -1)
