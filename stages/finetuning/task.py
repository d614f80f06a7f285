"""One task's examples, read from its folder and checked before any training starts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from stages.core.statistics.metrics import require_metrics
from stages.finetuning.questions import read_questions
from stages.finetuning.subset import drawn_subset

TRAIN, DEV, TEST = "train", "dev", "test"
EXTRACTION = "extraction"
_SUBSET_SEED = 1  # which examples are taken must not differ between seeds
_NOT_READABLE = (OSError, KeyError, pa.ArrowException)


@dataclass(frozen=True)
class TaskExamples:
    """The examples of one split."""

    index: Int64[ndarray, "N"]
    text_a: list[str]
    text_b: list[str] | None
    labels: Float64[ndarray, "N"] | None  # class ids or scores; None where unlabelled

    def __len__(self) -> int:
        return len(self.index)

    def without_texts(self) -> "TaskExamples":
        """Numbers and labels alone, which is what a training needs once the texts are encoded."""
        return TaskExamples(self.index, [], None, self.labels)

    def subset(self, limit: int | None, draws: Draws) -> "TaskExamples":
        """At most `limit` examples, drawn at random and kept in their order; None takes all."""
        if limit is None or len(self) <= limit:
            return self
        kept = drawn_subset(len(self), limit, draws)
        return TaskExamples(
            self.index[kept],
            [self.text_a[n] for n in kept],
            [self.text_b[n] for n in kept] if self.text_b is not None else None,
            self.labels[kept] if self.labels is not None else None,
        )


@dataclass(frozen=True)
class Task:
    """A task: what it asks, how it is scored, and its examples by split."""

    name: str
    kind: str
    class_names: tuple[str, ...]
    metrics: tuple[str, ...]
    splits: Mapping[str, Any]
    """Split -> its TaskExamples, or the Questions of an extraction."""
    score_range: tuple[float, float] | None = None
    """Lowest and highest score of a regression, where it has bounds."""

    @property
    def is_extraction(self) -> bool:
        """Whether answers are pieces of a context."""
        return self.kind == EXTRACTION

    @property
    def is_regression(self) -> bool:
        """Whether labels are scores."""
        return self.kind == "regression"

    @property
    def num_outputs(self) -> int:
        """Numbers that the model's head gives."""
        return 1 if self.is_regression else len(self.class_names)

    @property
    def scored_splits(self) -> list[str]:
        """Splits that say how good a model is, dev first; test is kept for the end."""
        labelled = [name for name, examples in self.splits.items() if examples.labels is not None]
        return [DEV, *(name for name in labelled if name not in (TRAIN, DEV, TEST))]

    def without_texts(self) -> "Task":
        """The task as trainings in other processes need it."""
        splits = {name: examples.without_texts() for name, examples in self.splits.items()}
        return replace(self, splits=splits)

    def shown_label(self, split: str) -> str:
        """What the first example of a split asks for, for the log."""
        if self.is_extraction:
            return f"answer={self.splits[split].answers[0][0]!r}"
        return f"label={self.labels(split)[0]:g}"

    def labels(self, split: str) -> Float64[ndarray, "N"]:
        """The labels of a split that has them."""
        labels: ndarray | None = self.splits[split].labels
        assert labels is not None, f"{split} of {self.name} has no labels"
        return labels


def read_task(folder: Path, max_train_examples: int | None) -> Task:
    """Read a task artefact, its training examples cut to `max_train_examples`.

    Raises: ArtifactError: there is no such task; a split is empty; train or dev is missing or
    unlabelled; a label is missing, outside the classes or no number; dev holds a class that the
    training examples lack; a metric does not fit the task.
    """
    _require_folder(folder)
    facts = read_manifest(folder, "tasks")
    is_extraction = facts["kind"] == EXTRACTION
    splits: dict[str, Any] = {
        name: read_questions(folder / f"{name}.parquet")
        if is_extraction
        else _read_split(folder / f"{name}.parquet", is_pair=facts["is_pair"])
        for name in sorted(facts["splits"])
    }
    for name in (TRAIN, DEV):
        if name not in splits:
            raise ArtifactError(f"{folder}: task {facts['name']} has no {name} split; give it one")
        if splits[name].labels is None and not is_extraction:
            raise ArtifactError(
                f"{folder}: {name} of task {facts['name']} has no labels; give it some"
            )
    draws = Draws(_SUBSET_SEED, f"finetuning.subset.{facts['name']}")
    task = Task(
        name=facts["name"],
        kind=facts["kind"],
        class_names=tuple(facts["labels"] or ()),
        metrics=tuple(facts["metrics"]),
        splits=splits | {TRAIN: splits[TRAIN].subset(max_train_examples, draws)},
        score_range=tuple(facts["score_range"]) if facts.get("score_range") else None,
    )
    if is_extraction:
        return task
    require_metrics(task.metrics, where=f"{folder}: task {task.name}", classes=task.class_names)
    if task.is_regression:
        _check_scores(task, folder)
    else:
        _check_classes(task, folder)
    return task


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        beside = sorted(path.parent.name for path in folder.parent.glob("*/manifest.json"))
        raise ArtifactError(
            f"{folder}: no such task, only {beside}; correct finetuning.tasks in params.yaml, or "
            "make the task (section tasks)"
        )


def _read_split(path: Path, *, is_pair: bool) -> TaskExamples:
    try:
        table = pq.read_table(path)
        index, text_a, text_b, label = (
            table.column(name) for name in ("index", "text_a", "text_b", "label")
        )
    except _NOT_READABLE as error:
        raise ArtifactError(
            f"{path}: not readable as examples ({error}); run tasks again"
        ) from error
    if not len(table):
        raise ArtifactError(f"{path}: holds no example; give it some, or take the split out")
    _require_all(path, "text_a", text_a)
    if is_pair:
        _require_all(path, "text_b", text_b)
    is_labelled = label.null_count < len(table)
    if is_labelled:
        _require_all(path, "label", label)
    return TaskExamples(
        index=index.to_numpy().astype(np.int64),
        text_a=text_a.to_pylist(),
        text_b=text_b.to_pylist() if is_pair else None,
        labels=label.to_numpy().astype(np.float64) if is_labelled else None,
    )


def _require_all(path: Path, name: str, column: pa.ChunkedArray) -> None:
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise ArtifactError(
            f"{path}: example {row} has no {name}, as {column.null_count} of {len(column)}; "
            "complete the task's source and run tasks again"
        )


def _check_scores(task: Task, folder: Path) -> None:
    for name in (TRAIN, *task.scored_splits):
        wrong = np.flatnonzero(~np.isfinite(task.labels(name)))
        if len(wrong):
            raise ArtifactError(
                f"{folder}/{name}.parquet: example {wrong[0]} has the score "
                f"{task.labels(name)[wrong[0]]}, expected a finite number; mend the label"
            )


def _check_classes(task: Task, folder: Path) -> None:
    for name in (TRAIN, *task.scored_splits):
        labels = task.labels(name)
        wrong = np.flatnonzero((labels < 0) | (labels >= len(task.class_names)) | (labels % 1 != 0))
        if len(wrong):
            raise ArtifactError(
                f"{folder}/{name}.parquet: example {wrong[0]} has label {labels[wrong[0]]:g}, "
                f"expected a class id below {len(task.class_names)} "
                f"({', '.join(task.class_names)}); mend the label"
            )
    for name in task.scored_splits:
        missing = np.setdiff1d(task.labels(name), task.labels(TRAIN))
        if len(missing):
            classes = ", ".join(task.class_names[int(one)] for one in missing)
            raise ArtifactError(
                f"{folder}: {name} of task {task.name} has the class {classes}, which its "
                f"{len(task.splits[TRAIN])} training examples lack; no model can learn it: mend "
                "the split, or raise max_train_examples"
            )
