"""What a task model was judged by: its predictions on the development examples, kept with it.

In: `predictions.parquet` of a fine-tuning, or the copy that a registered version carries. Out: for
every labelled development split the examples, their labels and what each seed answered. A version
keeps the file as it is, and what it means as tags, so that a later candidate can be compared with
it on the same examples, however long its artefacts are gone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float64, Int64
from numpy import ndarray

from stages.core.artifacts import content_hash, read_json, read_manifest
from stages.core.errors import ArtifactError

PREDICTIONS, METRICS = "predictions.parquet", "metrics.json"
TASK, TASK_HASH, KIND = "cloze.task", "cloze.task_hash", "cloze.kind"
METRIC_NAMES, SEEDS, MEDIAN_SEED = "cloze.metrics", "cloze.seeds", "cloze.median_seed"
PREDICTIONS_HASH = "cloze.predictions_hash"
EXTRACTION = "extraction"
_TAGS = (TASK, TASK_HASH, KIND, METRIC_NAMES, MEDIAN_SEED)
_NOT_SCORED = ("train", "test")
_SYSTEM = "encoder"  # the twin's predictions lie beside them


@dataclass(frozen=True)
class Evidence:
    """One task model's predictions, on disk, and what is needed to score them."""

    task: str
    task_hash: str
    """Content hash of the task's examples."""
    kind: str
    metrics: tuple[str, ...]
    median_seed: int
    """The seed whose model is registered."""
    predictions: Path = Path(PREDICTIONS)
    seeds: tuple[int, ...] = ()
    predictions_hash: str = ""

    @property
    def files(self) -> tuple[Path, Path]:
        """What is kept with the version: the predictions, and the scores made of them."""
        return self.predictions, self.predictions.with_name(METRICS)

    def tags(self) -> dict[str, str]:
        """What stands beside the predictions, as tags of the version."""
        return {
            TASK: self.task,
            TASK_HASH: self.task_hash,
            KIND: self.kind,
            METRIC_NAMES: json.dumps(list(self.metrics)),
            SEEDS: json.dumps(list(self.seeds)),
            MEDIAN_SEED: str(self.median_seed),
            PREDICTIONS_HASH: self.predictions_hash,
        }


def read_evidence(folder: Path, task: Mapping[str, Any]) -> Evidence:
    """The evidence that a fine-tuning left in `folder`; `task`: its entry in the tasks manifest.

    Raises: ArtifactError: a file is missing or damaged.
    """
    scores = read_json(folder / METRICS)
    manifest = read_manifest(folder, "finetuning")
    return Evidence(
        task=manifest["task"],
        task_hash=task["content"],
        kind=task["kind"],
        metrics=tuple(task["metrics"]),
        median_seed=scores["median_seed"],
        predictions=folder / PREDICTIONS,
        seeds=tuple(manifest["seeds"]),
        predictions_hash=content_hash(folder / PREDICTIONS),
    )


def evidence_of_version(version: str, tags: Mapping[str, str]) -> Evidence:
    """The evidence that a registered version carries, its file yet to be fetched.

    `version` names it in messages.

    Raises: ArtifactError: it was registered before versions carried any.
    """
    if any(tag not in tags for tag in _TAGS):
        raise ArtifactError(
            f"{version}: carries no predictions to compare with; register it again (dvc repro -f "
            "registration), or choose a champion by hand: python -m pipelines promote --reason ..."
        )
    return Evidence(
        task=tags[TASK],
        task_hash=tags[TASK_HASH],
        kind=tags[KIND],
        metrics=tuple(json.loads(tags[METRIC_NAMES])),
        median_seed=int(tags[MEDIAN_SEED]),
    )


@dataclass(frozen=True)
class SplitAnswers:
    """One split's examples in the order of their index, and each seed's answers.

    Of an extraction an answer is the mean of its exact match and F1, and there are no labels.
    """

    index: Int64[ndarray, "N"]
    labels: Float64[ndarray, "N"] | None
    by_seed: Mapping[int, Float64[ndarray, "N"]]


def read_answers(evidence: Evidence) -> dict[str, SplitAnswers]:
    """The registered system's answers on every labelled split but train and test.

    Raises: ArtifactError: the file is not readable, holds no such split, or a seed's examples are
    not those of the others.
    """
    path = evidence.predictions
    is_extraction = evidence.kind == EXTRACTION
    columns = ["exact_match", "f1"] if is_extraction else ["label", "prediction"]
    try:
        table = pq.read_table(path, columns=["system", "seed", "split", "index", *columns])
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(
            f"{path}: the predictions of task {evidence.task} are not readable with the columns "
            f"{columns} ({error}); run the fine-tuning again"
        ) from error
    is_asked = pc.and_(pc.equal(table["system"], _SYSTEM), pc.is_valid(table[columns[0]]))
    table = table.filter(is_asked)
    names = [name for name in pc.unique(table["split"]).to_pylist() if name not in _NOT_SCORED]
    if not names:
        raise ArtifactError(
            f"{path}: task {evidence.task} has no labelled development split; run its fine-tuning "
            "again"
        )
    return {
        name: _split_answers(table.filter(pc.equal(table["split"], name)), columns, evidence)
        for name in sorted(names)
    }


def _split_answers(table: pa.Table, columns: list[str], evidence: Evidence) -> SplitAnswers:
    parts: dict[int, tuple[ndarray, ndarray, ndarray]] = {}
    for seed in pc.unique(table["seed"]).to_pylist():
        mine = table.filter(pc.equal(table["seed"], seed)).sort_by("index")
        index, *both = (mine[name].to_numpy() for name in ("index", *columns))
        first, second = (one.astype(np.float64) for one in both)
        parts[seed] = (index.astype(np.int64), first, second)
    index, first, _ = next(iter(parts.values()))
    is_extraction = evidence.kind == EXTRACTION
    for seed, (other_index, other, _) in parts.items():
        is_same = np.array_equal(index, other_index)
        if not is_same or not (is_extraction or np.array_equal(first, other)):
            raise ArtifactError(
                f"{evidence.predictions}: seed {seed} of task {evidence.task} answers other "
                "examples than the first seed; run its fine-tuning again"
            )
    if is_extraction:
        return SplitAnswers(index, None, {s: (em + f1) / 2 for s, (_, em, f1) in parts.items()})
    return SplitAnswers(index, first, {seed: guess for seed, (_, _, guess) in parts.items()})
