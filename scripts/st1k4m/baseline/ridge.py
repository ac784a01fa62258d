"""Ridge regression of expression on features, with HEST's protocol and with a clean one.

Both use scikit-learn; they differ in the data from which each number is learned.
"""

from dataclasses import dataclass

import numpy as np

from st1k4m.baseline.scores import correlate, mean_of

#: Values of HEST's benchmark (src/hest/bench/trainer.py and benchmark.py, commit afd42c3).
COMPONENTS = 256
HEST_ALPHA = 100.0
HEST_ITERATIONS = 1000
HEST_SEED = 1
#: Penalties to try. Each is multiplied by the number of training spots, so it is relative to the
#: variance of the features.
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
#: Largest number of folds of the training slides for the choice of the penalty.
VALIDATION_FOLDS = 5


@dataclass(frozen=True)
class Fit:
    """The predictions of a ridge for the test spots.

    Attributes
    ----------
    predicted
        float64 ``(n, genes)``.
    dimensions
        Number of principal components.
    alpha
        scikit-learn's penalty.
    validated_by
        Unit of the cross-validation that chose the penalty: ``group`` or ``slide``; ``recipe`` if
        the recipe states the penalty.
    """

    predicted: np.ndarray
    dimensions: int
    alpha: float
    validated_by: str


def fit_hest(train: np.ndarray, target: np.ndarray, test: np.ndarray) -> Fit:
    """Predict expression as HEST's benchmark does.

    Features are standardised and reduced to `COMPONENTS` principal components; both are learned
    from the training spots. The ridge has no intercept, although the target is not centred, and
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

    # lsqr stops at a tolerance of 1e-4. If features are similar, rounding decides at which step:
    # with another number of cores a gene's correlation changed by 0.004. So always use one core.
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

    The chosen penalty has the best mean correlation, per slide and gene, of predictions for
    left-out groups; for left-out slides if all training slides are of one group. Scaling and
    components are learned from the features of all training spots, without expression.

    Parameters
    ----------
    train, test
        Features, ``(n, d)``.
    target
        Expression of the training spots, ``(n, genes)``; NaN if the slide does not have the gene.
    groups, slides
        Group and slide of each training spot.

    Raises
    ------
    ValueError
        All training spots are of one slide, so no penalty can be chosen; or a gene was measured in
        none of them.
    """
    train, test = reduce_features(train, test)
    target = np.asarray(target, np.float64)
    measured = ~np.isnan(target)
    if not measured.any(axis=0).all():
        raise ValueError("a gene was measured in no training slide")
    validated_by = "group" if len(set(groups)) > 1 else "slide"
    units = np.array(groups if validated_by == "group" else slides)
    if len(set(units)) < 2:
        raise ValueError("the training part is a single slide, so no penalty can be chosen")
    penalty = _choose_penalty(train, target, units, np.array(slides))
    alpha = penalty * len(train)
    return Fit(_predict(train, target, test, penalty), train.shape[1], alpha, validated_by)


def reduce_features(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardise features and reduce them to their first principal components.

    Both are learned from ``train`` only. There are `COMPONENTS` components, or fewer if ``train``
    is smaller.

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
    # If penalties are equally good, or no correlation is defined, take the strongest.
    means = [mean_of(np.concatenate(scores[penalty])) for penalty in PENALTIES]
    best = np.nanmax(means) if not np.isnan(means).all() else np.nan
    return max(
        penalty
        for penalty, mean in zip(PENALTIES, means, strict=True)
        if mean == best or np.isnan(best)
    )


def _predict(train: np.ndarray, target: np.ndarray, test: np.ndarray, penalty: float) -> np.ndarray:
    """Predict ``test``; genes that were measured in the same spots are fitted together."""
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
    """Return predictions as ``(n, genes)``, also for a single gene."""
    return predicted.reshape(len(predicted), -1)
