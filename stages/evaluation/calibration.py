"""Calibration: whether a classifier is right as often as it is sure.

In: logits and labels. Out: examples grouped by the probability of the predicted class, and the
expected calibration error over the groups.
Source: Guo et al. 2017, section 2, equations 2 and 3; 15 bins as in their section 5.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

NUM_BINS = 15


@dataclass(frozen=True)
class Bin:
    """Examples of which a model is about equally sure."""

    examples: int
    confidence: float
    """Mean probability of the predicted class, in 0..1."""
    accuracy: float
    """Share of right predictions, in 0..1."""


@dataclass(frozen=True)
class Calibration:
    """How far confidence and accuracy lie apart."""

    expected_error: float
    """Mean distance of both over the examples, in 0..1."""
    bins: tuple[Bin, ...]
    """Those of NUM_BINS equal widths of confidence that hold an example, the least sure first."""


def probabilities(outputs: Float64[ndarray, "N C"]) -> Float64[ndarray, "N C"]:
    """The softmax of logits."""
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def calibration(outputs: Float64[ndarray, "N C"], labels: Float64[ndarray, "N"]) -> Calibration:
    """Hold a classifier's confidence against its accuracy; a bin's upper end belongs to it."""
    confidence = probabilities(outputs).max(axis=1)
    is_right = (outputs.argmax(axis=1) == labels).astype(np.float64)
    numbers = np.clip(np.ceil(confidence * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)
    counts, sure, right = (
        np.bincount(numbers, weights, minlength=NUM_BINS)
        for weights in (np.ones_like(confidence), confidence, is_right)
    )
    bins = tuple(
        Bin(int(counts[one]), float(sure[one] / counts[one]), float(right[one] / counts[one]))
        for one in np.flatnonzero(counts)
    )
    return Calibration(float(np.abs(sure - right).sum() / len(labels)), bins)
