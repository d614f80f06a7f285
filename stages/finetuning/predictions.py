"""From a head's outputs to predictions, scores per seed, the median seed and the table of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float64
from numpy import ndarray

from stages.finetuning.metrics import score
from stages.finetuning.task import DEV, Task

Outputs = Mapping[str, ndarray]  # split -> (N, classes), or (N, 1) scores


def predictions(task: Task, outputs: Float64[ndarray, "N C"]) -> Float64[ndarray, "N"]:
    """Class ids, or the scores themselves."""
    if task.is_regression:
        return outputs[:, 0]
    return outputs.argmax(axis=1).astype(np.float64)


def scores_of(task: Task, outputs: Outputs) -> dict[str, Any]:
    """Metrics on dev; further labelled splits stand below their name."""
    by_split = {
        split: score(task.metrics, task.splits[split].labels, predictions(task, outputs[split]))  # type: ignore[arg-type]
        for split in task.labelled_splits
        if split != "test" and len(task.splits[split])
    }
    return {**by_split.pop(DEV), **by_split}


def task_score(task: Task, scores: Mapping[str, Any]) -> float:
    """The mean of the task's metrics on dev."""
    return float(np.mean([scores[name] for name in task.metrics]))


def median_seed(task: Task, by_seed: Mapping[int, Mapping[str, Any]]) -> int:
    """The seed with the median score on dev; of an even number the lower one."""
    ranked = sorted(by_seed, key=lambda seed: (task_score(task, by_seed[seed]), seed))
    return ranked[(len(ranked) - 1) // 2]


def prediction_table(task: Task, systems: Mapping[str, Mapping[int, Outputs]]) -> pa.Table:
    """Every prediction on every split but train: one row a (system, seed, split, example)."""
    rows: dict[str, list[Any]] = {
        name: [] for name in ("system", "seed", "split", "index", "label", "prediction", "scores")
    }
    for system, by_seed in systems.items():
        for seed, by_split in by_seed.items():
            for split, outputs in by_split.items():
                examples = task.splits[split]
                size = len(examples)
                labels = [None] * size if examples.labels is None else examples.labels.tolist()
                rows["system"] += [system] * size
                rows["seed"] += [seed] * size
                rows["split"] += [split] * size
                rows["index"] += examples.index.tolist()
                rows["label"] += labels
                rows["prediction"] += predictions(task, outputs).tolist()
                rows["scores"] += outputs.tolist()
    schema = pa.schema(
        [
            ("system", pa.string()),
            ("seed", pa.int64()),
            ("split", pa.string()),
            ("index", pa.int64()),
            ("label", pa.float64()),
            ("prediction", pa.float64()),
            ("scores", pa.list_(pa.float64())),
        ]
    )
    return pa.table(rows, schema=schema)
