"""95 % intervals of both systems' scores and of their difference, for `metrics.json`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from stages.core.statistics.bootstrap import interval, resampled_means, resampled_scores
from stages.finetuning.predictions import Outputs, predictions
from stages.finetuning.task import DEV, Task


def intervals(
    task: Task, systems: Mapping[str, Mapping[int, Outputs]]
) -> dict[str, dict[str, Any]]:
    """Measure, as `metrics.json` names it, or `score` for the mean of all -> its intervals.

    For each system and for the first one's lead over the second (`difference`) the lowest and the
    highest value of the middle 95 %.
    """
    measures: dict[str, ndarray] = {}
    for split in task.scored_splits:
        resample = _of_answers if task.is_extraction else _of_labels
        for metric, values in resample(task, systems, split).items():
            measures[metric if split == DEV else f"{split}/{metric}"] = values
    measures["score"] = np.mean(list(measures.values()), axis=0)
    return {name: _described(values, list(systems)) for name, values in measures.items()}


def _of_labels(
    task: Task, systems: Mapping[str, Mapping[int, Outputs]], split: str
) -> dict[str, ndarray]:
    guesses = {
        system: [predictions(task, outputs[split]) for outputs in by_seed.values()]
        for system, by_seed in systems.items()
    }
    return resampled_scores(task.metrics, task.labels(split), guesses, split)


def _of_answers(
    task: Task, systems: Mapping[str, Mapping[int, Outputs]], split: str
) -> dict[str, ndarray]:
    """Each measure is the mean of what every question scored."""
    return {
        metric: resampled_means(
            {
                system: [outputs[split][:, column] for outputs in by_seed.values()]
                for system, by_seed in systems.items()
            },
            split,
        )
        for column, metric in enumerate(task.metrics)
    }


def _described(values: Float64[ndarray, "systems R"], names: list[str]) -> dict[str, Any]:
    sides = dict(zip(names, values, strict=True)) | {"difference": values[0] - values[1]}
    return {name: [round(end, 6) for end in interval(one)] for name, one in sides.items()}
