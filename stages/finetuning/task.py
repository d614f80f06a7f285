"""One task's examples, read from its folder and checked before any training starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float64, Int64
from numpy import ndarray

from stages.core.artifacts import read_manifest
from stages.core.errors import ArtifactError
from stages.core.random import Draws

TRAIN, DEV = "train", "dev"


@dataclass(frozen=True)
class TaskExamples:
    """The examples of one split."""

    index: Int64[ndarray, "N"]
    text_a: list[str]
    text_b: list[str] | None
    labels: Float64[ndarray, "N"] | None  # class ids or scores; None where unlabelled

    def __len__(self) -> int:
        return len(self.text_a)

    def subset(self, limit: int | None, draws: Draws) -> "TaskExamples":
        """At most `limit` examples, drawn at random without regard to their order."""
        if limit is None or len(self) <= limit:
            return self
        kept = np.sort(np.argsort(draws.bits(np.arange(len(self))), kind="stable")[:limit])
        return TaskExamples(
            self.index[kept],
            [self.text_a[n] for n in kept],
            [self.text_b[n] for n in kept] if self.text_b else None,
            self.labels[kept] if self.labels is not None else None,
        )


@dataclass(frozen=True)
class Task:
    """A task: what it asks, how it is scored, and its examples by split."""

    name: str
    kind: str
    class_names: tuple[str, ...]
    metrics: tuple[str, ...]
    splits: Mapping[str, TaskExamples]

    @property
    def is_regression(self) -> bool:
        """Whether labels are scores."""
        return self.kind == "regression"

    @property
    def num_outputs(self) -> int:
        """Numbers that the model's head gives."""
        return 1 if self.is_regression else len(self.class_names)

    @property
    def labelled_splits(self) -> list[str]:
        """Splits that can be scored, training left out."""
        return [
            name
            for name, examples in self.splits.items()
            if name != TRAIN and examples.labels is not None
        ]


def read_task(folder: Path) -> Task:
    """Read a task artefact.

    Raises: ArtifactError: train or dev is missing, empty or unlabelled; a label is outside the
    classes; dev holds a class that train lacks.
    """
    facts = read_manifest(folder, "tasks")
    splits = {name: _read_split(folder / f"{name}.parquet") for name in sorted(facts["splits"])}
    task = Task(
        name=facts["name"],
        kind=facts["kind"],
        class_names=tuple(facts["labels"] or ()),
        metrics=tuple(facts["metrics"]),
        splits=splits,
    )
    for name in (TRAIN, DEV):
        if name not in splits or not len(splits[name]):
            raise ArtifactError(f"{folder}: task {task.name} has no {name} example; give it some")
        if splits[name].labels is None:
            raise ArtifactError(f"{folder}: {name} of task {task.name} has no labels; give it some")
    if not task.is_regression:
        _check_classes(task, folder)
    return task


def _read_split(path: Path) -> TaskExamples:
    try:
        table = pq.read_table(path)
        columns: dict[str, Any] = {name: table.column(name) for name in table.column_names}
        text_b = columns["text_b"]
        label = columns["label"]
        return TaskExamples(
            index=columns["index"].to_numpy().astype(np.int64),
            text_a=columns["text_a"].to_pylist(),
            text_b=None if text_b.null_count else text_b.to_pylist(),
            labels=None if label.null_count else label.to_numpy().astype(np.float64),
        )
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ArtifactError(
            f"{path}: not readable as examples ({error}); run tasks again"
        ) from error


def _check_classes(task: Task, folder: Path) -> None:
    for name in [TRAIN, *task.labelled_splits]:
        labels = task.splits[name].labels
        assert labels is not None
        wrong = np.flatnonzero((labels < 0) | (labels >= len(task.class_names)) | (labels % 1 != 0))
        if len(wrong):
            raise ArtifactError(
                f"{folder}/{name}.parquet: example {wrong[0]} has label {labels[wrong[0]]:g}, "
                f"expected a class id below {len(task.class_names)} ({', '.join(task.class_names)})"
            )
    train = task.splits[TRAIN].labels
    for name in task.labelled_splits:
        missing = np.setdiff1d(task.splits[name].labels, train)  # type: ignore[arg-type]
        if len(missing):
            classes = ", ".join(task.class_names[int(one)] for one in missing)
            raise ArtifactError(
                f"{folder}: {name} of task {task.name} has the class {classes}, which train lacks; "
                "no model can learn it: mend the split"
            )
