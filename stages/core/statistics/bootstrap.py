"""Paired bootstrap: what a set of examples, being a sample, leaves open about a score.

All systems and seeds predict the same examples, and a resample takes an example with all of its
predictions; a score is the mean over the seeds. So an interval tells how far the numbers depend on
which examples were asked; chance in training shows in the spread over seeds. Percentile intervals;
source: Efron and Tibshirani 1993, chapters 13 and 16; Koehn 2004 for the pairing.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Real
from numpy import ndarray

from stages.core.random import Draws
from stages.core.statistics.metrics import METRICS

RESAMPLES = 2000
LEVEL = 0.95
_NUMBERS_AT_ONCE = 2_000_000  # of the (resamples, examples) arrays
_SEED = 1  # the same resamples for any model, so that their intervals can be compared


def resampled_scores(
    metrics: Sequence[str],
    labels: Real[ndarray, "N"],
    systems: Mapping[str, Sequence[Real[ndarray, "N"]]],
    split: str,
) -> dict[str, Float64[ndarray, "systems R"]]:
    """Metric -> each system's mean over its seeds in each of RESAMPLES resamples of a split.

    `systems`: name -> one array of predictions a seed.
    """
    parts: dict[str, list[ndarray]] = {metric: [] for metric in metrics}
    for weights in resamples(len(labels), split):
        for metric, scored in parts.items():
            by_seed = [
                [METRICS[metric](labels, one, weights) for one in seeds]
                for seeds in systems.values()
            ]
            scored.append(np.array([np.mean(mine, axis=0) for mine in by_seed]))
    return {metric: np.concatenate(scored, axis=1) for metric, scored in parts.items()}


def resampled_means(
    systems: Mapping[str, Sequence[Float64[ndarray, "N"]]], split: str
) -> Float64[ndarray, "systems R"]:
    """Each system's mean over its seeds and examples in each resample of a split.

    `systems`: name -> one array a seed of what every example scored.
    """
    by_example = np.stack([np.mean(seeds, axis=0) for seeds in systems.values()])
    size = by_example.shape[1]
    parts = [by_example @ weights.T / size for weights in resamples(size, split)]
    return np.concatenate(parts, axis=1)


def resamples(num_examples: int, split: str) -> Iterator[Float64[ndarray, "R N"]]:
    """Yield how often each example is in each resample, some resamples at a time."""
    draws = Draws(_SEED, f"finetuning.bootstrap.{split}")
    at_once = max(1, _NUMBERS_AT_ONCE // num_examples)
    for first in range(0, RESAMPLES, at_once):
        number = np.arange(first, min(first + at_once, RESAMPLES))[:, None]
        drawn = draws.integers(num_examples, number, np.arange(num_examples))
        flat = (drawn + (number - first) * num_examples).reshape(-1)
        counts = np.bincount(flat, minlength=len(number) * num_examples)
        yield counts.reshape(len(number), num_examples).astype(np.float64)


def interval(values: Float64[ndarray, "R"]) -> tuple[float, float]:
    """Lowest and highest value of the resamples' middle 95 %."""
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(values, (tail, 100 - tail))
    return float(low), float(high)
