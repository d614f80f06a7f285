"""How far a regression's predictions lie from the labels, in the units of the labels."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray


@dataclass(frozen=True)
class Residuals:
    """A summary of prediction minus label."""

    mean: float
    """Above 0 where predictions are too high on the whole."""
    mean_absolute: float
    root_mean_square: float
    quartiles: tuple[float, float, float]
    """The 25th, 50th and 75th percentile, interpolated."""
    largest_absolute: float


def residuals(labels: Float64[ndarray, "N"], predictions: Float64[ndarray, "N"]) -> Residuals:
    """Sum up the differences of predictions and labels."""
    apart = predictions - labels
    low, middle, high = (float(one) for one in np.percentile(apart, (25, 50, 75)))
    return Residuals(
        mean=float(apart.mean()),
        mean_absolute=float(np.abs(apart).mean()),
        root_mean_square=float(np.sqrt((apart**2).mean())),
        quartiles=(low, middle, high),
        largest_absolute=float(np.abs(apart).max()),
    )
