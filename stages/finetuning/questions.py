"""The examples of an extraction task (SQuAD): questions, contexts and answers marked in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float64, Int64
from numpy import ndarray

from stages.core.errors import ArtifactError
from stages.core.random import Draws
from stages.finetuning.squad import EXACT_MATCH, F1
from stages.finetuning.subset import drawn_subset

_NOT_READABLE = (OSError, KeyError, pa.ArrowException)


@dataclass(frozen=True)
class Questions:
    """The questions of one split."""

    index: Int64[ndarray, "N"]
    question: list[str]
    context: list[str]
    answers: list[list[str]]
    """Every answer that somebody marked; the first one is learnt."""
    answer_starts: list[list[int]]
    """Where each begins, in characters of the context."""
    labels: None = None
    """As other examples have them: an answer is no number."""

    def __len__(self) -> int:
        return len(self.index)

    def subset(self, limit: int | None, draws: Draws) -> "Questions":
        """At most `limit` questions, drawn at random and kept in their order; None takes all."""
        if limit is None or len(self) <= limit:
            return self
        kept = drawn_subset(len(self), limit, draws)
        return Questions(
            self.index[kept],
            [self.question[n] for n in kept],
            [self.context[n] for n in kept],
            [self.answers[n] for n in kept],
            [self.answer_starts[n] for n in kept],
        )

    def without_texts(self) -> "Questions":
        """Numbers alone: a training finds the texts beside its windows."""
        return Questions(self.index, [], [], [], [])

    @property
    def spans(self) -> tuple[Int64[ndarray, "N"], Int64[ndarray, "N"]]:
        """First character, and the one behind the last, of each first answer."""
        starts = np.array([starts[0] for starts in self.answer_starts], dtype=np.int64)
        lengths = np.array([len(texts[0]) for texts in self.answers], dtype=np.int64)
        return starts, starts + lengths


def read_questions(path: Path) -> Questions:
    """Read a split as the tasks stage wrote it.

    Raises: ArtifactError: the file cannot be read, or is empty.
    """
    try:
        table = pq.read_table(path)
        columns = [
            table.column(name).to_pylist()
            for name in ("question", "context", "answers", "answer_starts")
        ]
        index = table.column("index").to_numpy().astype(np.int64)
    except _NOT_READABLE as error:
        raise ArtifactError(
            f"{path}: not readable as questions ({error}); run tasks again"
        ) from error
    if not len(table):
        raise ArtifactError(f"{path}: holds no question; give it some, or take the split out")
    return Questions(index, *columns)


def answers_of(outputs: Float64[ndarray, "N C"], contexts: list[str]) -> Mapping[str, list[Any]]:
    """The best answer's text, exact match and F1 of each question, from what was predicted."""
    begins, ends = outputs[:, 2].astype(np.int64), outputs[:, 3].astype(np.int64)
    spans = zip(contexts, begins.tolist(), ends.tolist(), strict=True)
    return {
        "answer": [context[begin:end] for context, begin, end in spans],
        EXACT_MATCH: outputs[:, 0].tolist(),
        F1: outputs[:, 1].tolist(),
    }
