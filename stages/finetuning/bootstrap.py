"""What a small development set leaves open: paired bootstrap intervals of scores and differences.

Both systems and all seeds predict the same examples, and a resample takes an example with all of
its predictions; a score is the mean over the seeds. So an interval tells how far the numbers depend
on which examples were asked; chance in training shows in the spread over seeds. Percentile
intervals; source: Efron and Tibshirani 1993, chapters 13 and 16; Koehn 2004 for the pairing.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from stages.core.random import Draws
from stages.finetuning.metrics import METRICS
from stages.finetuning.predictions import Outputs, predictions
from stages.finetuning.task import DEV, Task

RESAMPLES = 2000
_LEVEL = 0.95
_NUMBERS_AT_ONCE = 2_000_000  # of the (resamples, examples) arrays
_SEED = 1  # the same resamples for any model, so that their intervals can be compared


def intervals(
    task: Task, systems: Mapping[str, Mapping[int, Outputs]]
) -> dict[str, dict[str, Any]]:
    """Measure, as `metrics.json` names it, or `score` for the mean of all -> its intervals.

    For each system and for the first one's lead over the second (`difference`) the lowest and the
    highest value of the middle 95 %.
    """
    measures = {
        metric if split == DEV else f"{split}/{metric}": values
        for split in task.scored_splits
        for metric, values in _resampled(task, systems, split).items()
    }
    measures["score"] = np.mean(list(measures.values()), axis=0)
    return {name: _described(values, list(systems)) for name, values in measures.items()}


def _resampled(
    task: Task, systems: Mapping[str, Mapping[int, Outputs]], split: str
) -> dict[str, Float64[ndarray, "systems R"]]:
    """Metric -> the systems' means over the seeds in each resample of a split."""
    labels = task.labels(split)
    guesses = [
        [predictions(task, outputs[split]) for outputs in by_seed.values()]
        for by_seed in systems.values()
    ]
    parts: dict[str, list[ndarray]] = {metric: [] for metric in task.metrics}
    for weights in resamples(len(labels), split):
        for metric, scored in parts.items():
            by_seed = [[METRICS[metric](labels, one, weights) for one in mine] for mine in guesses]
            scored.append(np.mean(by_seed, axis=1))
    return {metric: np.concatenate(scored, axis=1) for metric, scored in parts.items()}


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


def _described(values: Float64[ndarray, "systems R"], names: list[str]) -> dict[str, Any]:
    sides = dict(zip(names, values, strict=True)) | {"difference": values[0] - values[1]}
    tail = 50 * (1 - _LEVEL)
    return {
        name: [round(float(end), 6) for end in np.percentile(one, (tail, 100 - tail))]
        for name, one in sides.items()
    }
