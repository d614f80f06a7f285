"""The examples behind a task's predictions, to show what a model was asked.

In: a split of the tasks stage. Out: the texts of single examples, named for a reader. Texts come
from anywhere, so they are cut here and escaped by the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float64, Int64
from numpy import ndarray

from stages.core.errors import ArtifactError
from stages.evaluation.scores import AGAIN

MOST_CHARACTERS = 400
_OF_ANSWERS = ("question", "answers")
_OF_LABELS = ("text_a", "text_b", "label")
_NOT_READABLE = (OSError, KeyError, pa.ArrowException)


@dataclass(frozen=True)
class Examples:
    """The columns of one split that a reader may see, in the order of `index`."""

    path: Path
    table: pa.Table

    @property
    def index(self) -> Int64[ndarray, "N"]:
        """The examples' numbers, rising."""
        return np.asarray(self.table.column("index").to_numpy().astype(np.int64))

    def require_index(self, index: Int64[ndarray, "M"], where: Path) -> None:
        """Refuse predictions of other examples; `where` is their file.

        Raises: ArtifactError: an example has no prediction, or the other way round.
        """
        if not np.array_equal(self.index, index):
            odd = np.setxor1d(self.index, index)
            which = f"example {odd[0]}" if len(odd) else "an example"
            raise ArtifactError(
                f"{where}: {which} is not in both it and {self.path}, expected one prediction for "
                f"each of {len(self.index)} examples; {AGAIN}"
            )

    def require_labels(self, labels: Float64[ndarray, "N"], where: Path) -> None:
        """Refuse predictions that were scored by other labels; call `require_index` before.

        Raises: ArtifactError: naming the first example whose labels differ.
        """
        mine = self.table.column("label").to_numpy().astype(np.float64)
        odd = np.flatnonzero(~(mine == labels))
        if len(odd):
            raise ArtifactError(
                f"{where}: example {self.index[odd[0]]} has the label {labels[odd[0]]:g}, but "
                f"{self.path} says {mine[odd[0]]:g}; {AGAIN}"
            )

    def texts(self, position: int) -> tuple[tuple[str, str], ...]:
        """The texts of one example with their names, cut to MOST_CHARACTERS."""
        row = self._row(position)
        if "question" in row:
            return (("question", cut(row["question"])),)
        if row["text_b"] is None:
            return (("text", cut(row["text_a"])),)
        return (("first text", cut(row["text_a"])), ("second text", cut(row["text_b"])))

    def gold_answers(self, position: int) -> tuple[str, ...]:
        """The different right answers to one question, in their order, cut."""
        return tuple(dict.fromkeys(cut(answer) for answer in self._row(position)["answers"]))

    def _row(self, position: int) -> dict[str, Any]:
        (row,) = self.table.slice(position, 1).to_pylist()
        return dict(row)


def read_examples(path: Path, *, are_questions: bool) -> Examples:
    """Read one split.

    Raises: ArtifactError: it is missing, damaged or lacks a column.
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: missing; run tasks again (dvc repro)")
    columns: Sequence[str] = ("index", *(_OF_ANSWERS if are_questions else _OF_LABELS))
    try:
        found = pq.read_schema(path).names
        missing = [name for name in columns if name not in found]
        if missing:
            raise ArtifactError(
                f"{path}: has no columns {missing}, only {found}; run tasks again (dvc repro)"
            )
        return Examples(path, pq.read_table(path, columns=list(columns)).sort_by("index"))
    except _NOT_READABLE as error:
        raise ArtifactError(f"{path}: not readable as examples ({error}); run tasks again") from (
            error
        )


def cut(text: str, most: int = MOST_CHARACTERS) -> str:
    """A text of at most `most` characters, and a sign where more was there."""
    return text if len(text) <= most else f"{text[:most]} \u2026"
