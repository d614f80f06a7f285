"""Labelled examples in memory, and the parquet files that hold them.

Every source ends here: a `Task` of `Split`s, whose labels are class ids or scores already, or of
`Questions`, whose answers are checked. One task at a time is in memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.artifacts import write_manifest
from stages.tasks.questions import Questions

TaskKind = Literal["classification", "regression", "extraction"]
_ROW_GROUP_ROWS = 100_000


@dataclass(frozen=True)
class Split:
    """The examples of one split, in file order."""

    texts_a: Sequence[str]
    texts_b: Sequence[str] | None  # None: single texts
    labels: Sequence[int] | Sequence[float] | None  # None: unlabelled
    num_skipped_rows: int = 0

    def __len__(self) -> int:
        return len(self.texts_a)


@dataclass(frozen=True)
class Task:
    """A task, its examples, and what must be said of them."""

    name: str
    kind: TaskKind
    metrics: tuple[str, ...]
    labels: tuple[str, ...] | None  # names by class id
    splits: Mapping[str, Split] | Mapping[str, Questions]
    is_pair: bool
    score_range: tuple[float, float] | None = None
    is_glue: bool = False
    note: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)  # more for the manifest

    def properties(self) -> dict[str, Any]:
        """What the manifest says of the task."""
        return {
            "name": self.name,
            "kind": self.kind,
            "labels": None if self.labels is None else list(self.labels),
            "metrics": list(self.metrics),
            "score_range": None if self.score_range is None else list(self.score_range),
            "is_pair": self.is_pair,
            "is_glue": self.is_glue,
            "note": self.note,
            "splits": {name: _split_properties(split) for name, split in self.splits.items()},
            **self.facts,
        }


def write_task(folder: Path, task: Task) -> None:
    """Write a task's folder: one parquet file a split, and its manifest."""
    folder.mkdir()
    label_type = pa.int64() if task.kind == "classification" else pa.float64()
    for name, split in task.splits.items():
        table = split.table() if isinstance(split, Questions) else _table(split, label_type)
        pq.write_table(
            table,
            folder / f"{name}.parquet",
            row_group_size=_ROW_GROUP_ROWS,
            compression="zstd",
        )
    write_manifest(folder, "tasks", task.properties())


def _table(split: Split, label_type: Any) -> Any:
    texts = [("text_a", pa.string()), ("text_b", pa.string())]
    schema = pa.schema([("index", pa.int64()), *texts, ("label", label_type)])
    nothing = [None] * len(split)
    columns = [
        range(len(split)),
        split.texts_a,
        nothing if split.texts_b is None else split.texts_b,
        nothing if split.labels is None else split.labels,
    ]
    arrays = [
        pa.array(list(column), type=field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.table(arrays, schema=schema)


def _split_properties(split: Split | Questions) -> dict[str, Any]:
    if isinstance(split, Questions):
        return {"examples": len(split), "is_labelled": True}
    properties = {"examples": len(split), "is_labelled": split.labels is not None}
    if split.num_skipped_rows:
        properties["skipped_rows"] = split.num_skipped_rows
    return properties
