"""From a head's outputs to predictions, scores per seed, the median seed and the table of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float64
from numpy import ndarray

from stages.core.statistics.metrics import score
from stages.finetuning.questions import answers_of
from stages.finetuning.squad import EXACT_MATCH, F1, mean_scores
from stages.finetuning.task import DEV, Task

Outputs = Mapping[str, ndarray]  # split -> (N, classes), or (N, 1) scores
_BEGIN = 2  # of the best answer, among what an extraction predicts


def predictions(task: Task, outputs: Float64[ndarray, "N C"]) -> Float64[ndarray, "N"]:
    """Class ids, scores in the range that the task's have (STS-B: 0 to 5), or answers' begins."""
    if task.is_extraction:
        return outputs[:, _BEGIN]
    if task.is_regression:
        return outputs[:, 0] if task.score_range is None else outputs[:, 0].clip(*task.score_range)
    return outputs.argmax(axis=1).astype(np.float64)


def dev_scores(task: Task, outputs: Float64[ndarray, "N C"], split: str = DEV) -> dict[str, float]:
    """Metrics on one labelled split."""
    if task.is_extraction:
        return mean_scores({EXACT_MATCH: outputs[:, 0], F1: outputs[:, 1]})
    return score(task.metrics, task.labels(split), predictions(task, outputs))


def all_scores(task: Task, outputs: Outputs) -> dict[str, Any]:
    """Metrics on dev; further dev splits (dev_mismatched) stand below their name."""
    by_split = {split: dev_scores(task, outputs[split], split) for split in task.scored_splits}
    return {**by_split.pop(DEV), **by_split}


def task_score(task: Task, scores: Mapping[str, Any]) -> float:
    """The mean of the task's metrics on dev."""
    return float(np.mean([scores[name] for name in task.metrics]))


def median_seed(task: Task, by_seed: Mapping[int, Mapping[str, Any]]) -> int:
    """The seed with the median score on dev; of an even number the lower one."""
    ranked = sorted(by_seed, key=lambda seed: (task_score(task, by_seed[seed]), seed))
    return ranked[(len(ranked) - 1) // 2]


def constant_seeds(task: Task, by_seed: Mapping[int, Outputs]) -> list[int]:
    """Seeds whose model predicts the same for every dev example: correlations say 0 there."""
    return [
        seed for seed, outputs in by_seed.items() if not np.ptp(predictions(task, outputs[DEV]))
    ]


def prediction_table(task: Task, systems: Mapping[str, Mapping[int, Outputs]]) -> pa.Table:
    """Every prediction on every split but train: one row a (system, seed, split, example)."""
    return pa.concat_tables(
        _split_table(task, system, seed, split, outputs)
        for system, by_seed in systems.items()
        for seed, by_split in by_seed.items()
        for split, outputs in by_split.items()
    )


def _split_table(
    task: Task, system: str, seed: int, split: str, outputs: Float64[ndarray, "N C"]
) -> pa.Table:
    examples = task.splits[split]
    size = len(outputs)
    columns: dict[str, Any] = {
        "system": pa.repeat(system, size),
        "seed": pa.repeat(seed, size),
        "split": pa.repeat(split, size),
        "index": pa.array(examples.index),
    }
    if task.is_extraction:
        columns |= answers_of(outputs, examples.context)
    else:
        labels = examples.labels
        columns["label"] = pa.nulls(size, pa.float64()) if labels is None else pa.array(labels)
        columns["prediction"] = pa.array(predictions(task, outputs))
    head = outputs[:, _BEGIN:] if task.is_extraction else outputs
    width = head.shape[1]
    borders = pa.array(np.arange(0, size * width + 1, width, dtype=np.int32))
    columns["scores"] = pa.ListArray.from_arrays(borders, pa.array(head.reshape(-1)))
    return pa.table(columns)
