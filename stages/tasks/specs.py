"""What a task is, as data: its files, columns, labels, kind and metrics.

A task is one entry, whether it is GLUE's (glue.py) or a user's own (params.yaml): the code that
reads it knows no names. The decision worth knowing: a column is found by its header's name, or by
its position (from 0) where the file has no header.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stages.tasks.params import FileFormat, Kind, Metric

Column = str | int


@dataclass(frozen=True)
class SplitSpec:
    """Where one split lies, and which of its columns are read."""

    files: tuple[str, ...]  # relative to the root; the first that is there is read
    text_columns: tuple[Column, ...]  # one, or two for a pair
    label_column: Column | None  # None: the split has no labels
    is_required: bool = True
    is_label_optional: bool = False  # without the column, the split counts as unlabelled
    has_header: bool = True


@dataclass(frozen=True)
class TaskSpec:
    """A task of labelled texts."""

    name: str
    kind: Kind
    metrics: tuple[Metric, ...]
    splits: Mapping[str, SplitSpec]
    labels: tuple[str, ...] | None = None  # names by class id; None: regression, or train's, sorted
    label_values: tuple[str, ...] | None = None  # as the files spell them; None: as `labels`
    score_range: tuple[float, float] | None = None  # of a regression's scores, both ends included
    format: FileFormat = "tsv"
    is_glue: bool = False
    published_sizes: Mapping[str, int] = field(default_factory=dict)
    max_broken_row_fraction: float = 0.0  # labelled rows of a wrong width that may be left out

    @property
    def is_pair(self) -> bool:
        """Whether an example has two texts."""
        return all(len(split.text_columns) == 2 for split in self.splits.values())
