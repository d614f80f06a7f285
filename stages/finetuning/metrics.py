"""The metrics of GLUE on numpy arrays, equal to scikit-learn's and scipy's; those imports cost 2 s.

Classification metrics take class ids, correlations take scores. A metric that is undefined (a
constant prediction has no correlation) is 0, as scikit-learn has it for Matthews and F1.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64, Int64, Real
from numpy import ndarray

from stages.core.errors import ArtifactError


def accuracy(labels: Real[ndarray, "N"], predictions: Real[ndarray, "N"]) -> float:
    """Share of right predictions."""
    return float(np.mean(labels == predictions))


def f1(labels: Real[ndarray, "N"], predictions: Real[ndarray, "N"]) -> float:
    """F1 of class 1 of a binary task."""
    return _f1_of_class(labels, predictions, 1)


def macro_f1(labels: Real[ndarray, "N"], predictions: Real[ndarray, "N"]) -> float:
    """Mean of each class's F1, over the classes that occur in labels or predictions."""
    classes = np.union1d(labels, predictions)
    return float(np.mean([_f1_of_class(labels, predictions, float(one)) for one in classes]))


def _f1_of_class(labels: Real[ndarray, "N"], predictions: Real[ndarray, "N"], one: float) -> float:
    hits = np.sum((labels == one) & (predictions == one))
    total = np.sum(labels == one) + np.sum(predictions == one)
    return float(2 * hits / total) if total else 0.0


def matthews_correlation(labels: Real[ndarray, "N"], predictions: Real[ndarray, "N"]) -> float:
    """Matthews correlation of any number of classes (Gorodkin 2004)."""
    classes, indices = np.unique(np.concatenate([labels, predictions]), return_inverse=True)
    truth, guess = indices[: len(labels)], indices[len(labels) :]
    confusion = _confusion(truth, guess, len(classes)).astype(np.float64)
    actual, predicted, total = confusion.sum(axis=1), confusion.sum(axis=0), confusion.sum()
    covariance = np.trace(confusion) * total - actual @ predicted
    variance = (total**2 - actual @ actual) * (total**2 - predicted @ predicted)
    return float(covariance / np.sqrt(variance)) if variance > 0 else 0.0


def _confusion(
    truth: Int64[ndarray, "N"], guess: Int64[ndarray, "N"], num_classes: int
) -> Int64[ndarray, "C C"]:
    counts = np.bincount(truth * num_classes + guess, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def pearson(labels: Real[ndarray, "N"], predictions: Real[ndarray, "N"]) -> float:
    """Pearson's correlation."""
    x = np.asarray(labels, dtype=np.float64) - np.mean(labels)
    y = np.asarray(predictions, dtype=np.float64) - np.mean(predictions)
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm > 0 else 0.0


def spearman(labels: Real[ndarray, "N"], predictions: Real[ndarray, "N"]) -> float:
    """Spearman's rank correlation, ties at their mean rank."""
    return pearson(_ranks(labels), _ranks(predictions))


def _ranks(values: Real[ndarray, "N"]) -> Float64[ndarray, "N"]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


METRICS: dict[str, Callable[[ndarray, ndarray], float]] = {
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
    return {name: round(METRICS[name](labels, predictions), 10) for name in names}
