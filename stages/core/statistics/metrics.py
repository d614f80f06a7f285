"""The metrics of GLUE on numpy arrays, equal to scikit-learn's and scipy's; those imports cost 2 s.

Classification metrics take class ids, correlations take scores. Every metric also scores resamples
of the examples at once: `weights` (R, N) says how often each example is in each of R resamples. A
metric that is undefined (a constant prediction has no correlation) is 0, as scikit-learn has it for
Matthews and F1.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64, Real
from numpy import ndarray

from stages.core.errors import ArtifactError

_CONSTANT = 1e-14  # a variance below this share of the mean square is rounding


def accuracy(
    labels: Real[ndarray, "N"], predictions: Real[ndarray, "N"], weights: Float64[ndarray, "R N"]
) -> Float64[ndarray, "R"]:
    """Share of right predictions."""
    return weights @ (labels == predictions).astype(np.float64) / weights.sum(axis=1)


def f1(
    labels: Real[ndarray, "N"], predictions: Real[ndarray, "N"], weights: Float64[ndarray, "R N"]
) -> Float64[ndarray, "R"]:
    """F1 of class 1 of a binary task."""
    return _f1_of_class(labels, predictions, weights, 1)[0]


def macro_f1(
    labels: Real[ndarray, "N"], predictions: Real[ndarray, "N"], weights: Float64[ndarray, "R N"]
) -> Float64[ndarray, "R"]:
    """Mean of each class's F1, over the classes that occur in labels or predictions."""
    classes = np.union1d(labels, predictions)
    scored = [_f1_of_class(labels, predictions, weights, float(one)) for one in classes]
    values, occurs = (np.stack(column) for column in zip(*scored, strict=True))
    return np.asarray(values.sum(axis=0) / occurs.sum(axis=0))


def _f1_of_class(
    labels: Real[ndarray, "N"],
    predictions: Real[ndarray, "N"],
    weights: Float64[ndarray, "R N"],
    one: float,
) -> tuple[Float64[ndarray, "R"], ndarray]:
    """F1 of a class in each resample, 0 where it does not occur, and whether it does."""
    is_label, is_guess = labels == one, predictions == one
    hits = weights @ (is_label & is_guess).astype(np.float64)
    total = weights @ (is_label.astype(np.float64) + is_guess)
    return np.divide(2 * hits, total, out=np.zeros_like(total), where=total > 0), total > 0


def matthews_correlation(
    labels: Real[ndarray, "N"], predictions: Real[ndarray, "N"], weights: Float64[ndarray, "R N"]
) -> Float64[ndarray, "R"]:
    """Matthews correlation of any number of classes (Gorodkin 2004)."""
    classes, indices = np.unique(np.concatenate([labels, predictions]), return_inverse=True)
    one_hot = np.eye(len(classes))[indices]
    truth, guess = one_hot[: len(labels)], one_hot[len(labels) :]
    actual, predicted, total = weights @ truth, weights @ guess, weights.sum(axis=1)
    covariance = (weights @ (truth * guess).sum(axis=1)) * total - (actual * predicted).sum(axis=1)
    variance = (total**2 - (actual**2).sum(axis=1)) * (total**2 - (predicted**2).sum(axis=1))
    scale = np.sqrt(variance, out=np.zeros_like(variance), where=variance > 0)
    return np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)


def pearson(
    labels: Real[ndarray, "N"], predictions: Real[ndarray, "N"], weights: Float64[ndarray, "R N"]
) -> Float64[ndarray, "R"]:
    """Pearson's correlation."""
    return _correlation(labels[None].astype(np.float64), predictions[None], weights)


def spearman(
    labels: Real[ndarray, "N"], predictions: Real[ndarray, "N"], weights: Float64[ndarray, "R N"]
) -> Float64[ndarray, "R"]:
    """Spearman's rank correlation, ties at their mean rank."""
    return _correlation(_ranks(labels, weights), _ranks(predictions, weights), weights)


def _correlation(
    x: Real[ndarray, "_ N"], y: Real[ndarray, "_ N"], weights: Float64[ndarray, "R N"]
) -> Float64[ndarray, "R"]:
    total = weights.sum(axis=1, keepdims=True)
    sides = []
    for values in (x, y):
        middle = (weights * values).sum(axis=1, keepdims=True) / total
        apart = values - middle
        variance = (weights * apart**2).sum(axis=1)
        square = (weights * values**2).sum(axis=1)
        sides.append((apart, np.where(variance > _CONSTANT * square, variance, 0.0)))
    (x_apart, x_variance), (y_apart, y_variance) = sides
    norm = np.sqrt(x_variance * y_variance)
    covariance = (weights * x_apart * y_apart).sum(axis=1)
    return np.divide(covariance, norm, out=np.zeros_like(norm), where=norm > 0)


def _ranks(values: Real[ndarray, "N"], weights: Float64[ndarray, "R N"]) -> Float64[ndarray, "R N"]:
    """Each example's rank among those of a resample."""
    order = np.argsort(values, kind="stable")
    begins = np.flatnonzero(np.diff(values[order], prepend=np.nan) != 0)
    counts = np.add.reduceat(weights[:, order], begins, axis=1)
    ranks = np.cumsum(counts, axis=1) - (counts - 1) / 2
    group = np.empty(len(values), dtype=np.int64)
    group[order] = np.repeat(np.arange(len(begins)), np.diff(begins, append=len(values)))
    return np.asarray(ranks[:, group])


Metric = Callable[[ndarray, ndarray, ndarray], ndarray]
METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "f1": f1,
    "macro_f1": macro_f1,
    "matthews_correlation": matthews_correlation,
    "pearson": pearson,
    "spearman": spearman,
}


_OF_SCORES = ("pearson", "spearman")
_OF_TWO_CLASSES = ("f1",)


def require_metrics(names: Sequence[str], *, where: str, classes: Sequence[str]) -> None:
    """Refuse metrics that cannot score a task of these classes (none: a regression).

    Raises: ArtifactError: a metric is unknown, or does not fit the kind or number of classes.
    """
    fitting = [
        name
        for name in METRICS
        if (name in _OF_SCORES) == (not classes)
        and (name not in _OF_TWO_CLASSES or len(classes) == 2)
    ]
    wrong = [name for name in names if name not in fitting]
    if wrong or not names:
        asks = f"{len(classes)} classes" if classes else "scores"
        raise ArtifactError(
            f"{where}: its metrics are {list(names)}; for {asks} expected some of {fitting}"
        )


def score(
    names: Sequence[str], labels: Real[ndarray, "N"], predictions: Real[ndarray, "N"]
) -> dict[str, float]:
    """Every named metric, rounded to what a repetition on another machine can hold."""
    once = np.ones((1, len(labels)))
    return {name: round(float(METRICS[name](labels, predictions, once)[0]), 10) for name in names}
