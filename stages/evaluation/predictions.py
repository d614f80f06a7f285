"""A task's predictions as fine-tuning kept them, checked before anything is counted in them.

In: `predictions.parquet`, a row for each system, seed, split and example. Out: those of one model
on one split, in the order of the examples. The file may hold millions of rows (QQP's test set, for
every seed), so only the rows that are asked for are read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float64, Int64
from numpy import ndarray

from stages.core.errors import ArtifactError
from stages.evaluation.scores import AGAIN, SYSTEMS

EXTRACTION = "extraction"
_KEYS = ("system", "seed", "split", "index")
_OF_LABELS = ("label", "prediction", "scores")
_OF_ANSWERS = ("answer", "exact_match", "f1", "scores")
_NOT_READABLE = (OSError, KeyError, pa.ArrowException)


@dataclass(frozen=True)
class Predictions:
    """One model's predictions for the labelled examples of a split."""

    index: Int64[ndarray, "N"]
    labels: Float64[ndarray, "N"]
    values: Float64[ndarray, "N"]
    """Class ids, or scores."""
    outputs: Float64[ndarray, "N C"]
    """What the head gave: logits, or the one score."""


@dataclass(frozen=True)
class Answers:
    """One model's answers to the questions of a split; both measures are shares in 0..1."""

    index: Int64[ndarray, "N"]
    texts: tuple[str, ...]
    exact_match: Float64[ndarray, "N"]
    f1: Float64[ndarray, "N"]
    outputs: Float64[ndarray, "N C"]


class PredictionFile:
    """A task's `predictions.parquet`, which holds the columns that its kind of task has."""

    def __init__(self, path: Path) -> None:
        """Look at the columns alone.

        Raises: ArtifactError: the file is missing, damaged or holds other columns.
        """
        self.path = path
        if not path.is_file():
            raise ArtifactError(f"{path}: missing; {AGAIN}")
        try:
            found = pq.read_schema(path).names
        except _NOT_READABLE as error:
            raise ArtifactError(f"{path}: not readable as parquet ({error}); {AGAIN}") from error
        self.holds_answers = "answer" in found
        wanted = (*_KEYS, *(_OF_ANSWERS if self.holds_answers else _OF_LABELS))
        missing = [name for name in wanted if name not in found]
        if missing:
            raise ArtifactError(f"{path}: has no columns {missing}, only {found}; {AGAIN}")

    def require(self, seeds: Sequence[int], sizes: Mapping[str, int]) -> None:
        """Refuse predictions of other seeds, or of other numbers of examples.

        `sizes`: split -> its examples. Raises: ArtifactError: naming what does not fit.
        """
        counted = self._counts
        for system in SYSTEMS:
            found = self.seeds(system)
            if found != sorted(seeds):
                raise ArtifactError(
                    f"{self.path}: {system}: predictions of the seeds {found}, expected "
                    f"{sorted(seeds)} (finetuning.seeds); {AGAIN}"
                )
            for seed in seeds:
                for split, size in sizes.items():
                    number = counted.get((system, seed, split), 0)
                    if number != size:
                        raise ArtifactError(
                            f"{self.path}: {system}, seed {seed}: {number} predictions for "
                            f"{split}, expected {size}, as the task has examples; {AGAIN}"
                        )

    def seeds(self, system: str) -> list[int]:
        """The seeds that a system has predictions of."""
        return sorted({seed for name, seed, _ in self._counts if name == system})

    @cached_property
    def _counts(self) -> dict[tuple[str, int, str], int]:
        keys = ["system", "seed", "split"]
        table = self._read(keys, None)
        rows = table.group_by(keys).aggregate([([], "count_all")]).to_pylist()
        return {(row["system"], row["seed"], row["split"]): row["count_all"] for row in rows}

    def labelled(self, system: str, seed: int, split: str) -> Predictions:
        """One model's predictions, by the index of their examples.

        Raises: ArtifactError: an example is there twice, unlabelled, or without its outputs.
        """
        table, index, outputs = self._of(system, seed, split, ["label", "prediction"])
        labels, values = (
            table.column(name).to_numpy().astype(np.float64) for name in ("label", "prediction")
        )
        wrong = np.flatnonzero(~(np.isfinite(labels) & np.isfinite(values)))
        if len(wrong):
            raise ArtifactError(
                f"{self.path}: {system}, seed {seed}, {split}: example {index[wrong[0]]} has the "
                f"label {labels[wrong[0]]} and the prediction {values[wrong[0]]}, expected two "
                f"numbers; {AGAIN}"
            )
        return Predictions(index, labels, values, outputs)

    def answers(self, system: str, seed: int, split: str) -> Answers:
        """One model's answers, by the index of their questions.

        Raises: ArtifactError: a question is there twice, or without its outputs.
        """
        columns = ["answer", "exact_match", "f1"]
        table, index, outputs = self._of(system, seed, split, columns)
        texts = tuple(text or "" for text in table.column("answer").to_pylist())
        exact_match, f1 = (table.column(name).to_numpy().astype(np.float64) for name in columns[1:])
        return Answers(index, texts, exact_match, f1, outputs)

    def _of(
        self, system: str, seed: int, split: str, columns: list[str]
    ) -> tuple[pa.Table, ndarray, ndarray]:
        wanted = [("system", "=", system), ("seed", "=", seed), ("split", "=", split)]
        table = self._read(["index", *columns, "scores"], wanted).sort_by("index")
        index = table.column("index").to_numpy().astype(np.int64)
        outputs = table.column("scores").combine_chunks().flatten().to_numpy().astype(np.float64)
        where = f"{self.path}: {system}, seed {seed}, {split}"
        if len(np.unique(index)) != len(index):
            raise ArtifactError(f"{where}: an example is predicted twice; {AGAIN}")
        if not len(index) or len(outputs) % len(index) or not len(outputs):
            raise ArtifactError(
                f"{where}: {len(outputs)} outputs for {len(index)} examples, expected as many for "
                f"each; {AGAIN}"
            )
        return table, index, outputs.reshape(len(index), -1)

    def _read(self, columns: list[str], wanted: list[tuple[str, str, object]] | None) -> pa.Table:
        try:
            return pq.read_table(self.path, columns=columns, filters=wanted)
        except _NOT_READABLE as error:
            raise ArtifactError(
                f"{self.path}: not readable as parquet ({error}); {AGAIN}"
            ) from error
