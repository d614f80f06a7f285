"""The tasks section of params.yaml: one source of labelled tasks, and a user's own tasks.

A user's own task is declared under `custom` with the same facts as GLUE's in glue.py; its files lie
below `tasks.input`, so that DVC sees them change.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from stages.core.settings import Section

Kind = Literal["classification", "regression"]
Metric = Literal["matthews_correlation", "accuracy", "f1", "macro_f1", "pearson", "spearman"]
FileFormat = Literal["tsv", "csv", "jsonl"]

_REGRESSION = frozenset({"pearson", "spearman"})
_TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class SampleParams(Section):
    """How many examples each sample task gets, where the documents give as many."""

    train_examples: int = Field(ge=10)
    """Examples of train, per task."""
    dev_examples: int = Field(ge=10)
    """Examples of dev, per task."""
    test_examples: int = Field(ge=10)
    """Examples of test, per task."""


class CustomTask(Section):
    """A user's own task: one or two text columns and a label, in csv, tsv or jsonl files."""

    train: str = Field(min_length=1)
    """File of the training examples, relative to `tasks.input`."""
    dev: str = Field(min_length=1)
    """File of the examples that runs are compared on, relative to `tasks.input`."""
    test: str | None = None
    """File of the test examples; without the label column it counts as unlabelled."""
    format: FileFormat | None = None
    """Format of the files; left out, their suffix says it. Only csv knows quotes."""
    has_header: bool = True
    """Whether the first row names the columns; without one, columns are positions from 0."""
    text_columns: tuple[str | int, ...] = Field(strict=False, min_length=1, max_length=2)
    """The column of the text, or the two of a pair."""
    label_column: str | int
    """The column of the label or score."""
    kind: Kind
    """Classification into any number of classes, or regression of a score."""
    labels: tuple[str, ...] | None = Field(default=None, strict=False, min_length=2)
    """The classes by id; left out, train's in alphabetical order. None for regression."""
    metrics: tuple[Metric, ...] = Field(strict=False, min_length=1)
    """What is measured; f1 is of the second of two classes, macro_f1 the mean over classes."""

    @model_validator(mode="after")
    def _parts_fit(self) -> "CustomTask":
        is_regression = self.kind == "regression"
        fitting = [name for name in get_args(Metric) if (name in _REGRESSION) == is_regression]
        wrong = [metric for metric in self.metrics if metric not in fitting]
        if wrong:
            raise ValueError(f"metrics {wrong} do not fit {self.kind}, expected {fitting}")
        if self.labels is not None:
            if is_regression:
                raise ValueError("labels are given, but a regression has none: take them out")
            if len(set(self.labels)) < len(self.labels):
                raise ValueError(f"labels {list(self.labels)} name a class twice")
        columns = [*self.text_columns, self.label_column]
        expected = str if self.has_header else int
        if not all(isinstance(column, expected) for column in columns):
            raise ValueError(
                f"columns are {columns}, expected names with has_header: true, positions from 0 "
                "with has_header: false"
            )
        if len(set(columns)) < len(columns) or any(
            isinstance(column, int) and column < 0 for column in columns
        ):
            raise ValueError(f"columns {columns} must differ, and positions start at 0")
        return self


class HubDataset(Section):
    """One repository of the Hugging Face hub, at a pinned revision."""

    path: str = Field(min_length=1)
    """Repository, e.g. `nyu-mll/glue`, or a local folder that `datasets` can load."""
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    """Commit of the repository: a branch name would change under the same settings."""


class HubParams(HubDataset):
    """GLUE on the Hugging Face hub, and SQuAD where it is asked for."""

    squad: HubDataset | None = None
    """SQuAD 1.1 as well, e.g. `rajpurkar/squad`; left out, it is no task."""


class TasksParams(Section):
    """The tasks section of params.yaml."""

    source: Literal["sample", "files", "hub"]
    """Where labelled tasks come from: made from Python documentation, files, or the hub."""
    input: str = Field(min_length=1)
    """What DVC watches: the lock file for sample and hub, the folder of the tasks for files."""
    seed: int = Field(ge=0)
    """Seed of the sample tasks' draws."""
    sample: SampleParams
    """Sizes of the sample tasks; the other sources take what there is."""
    custom: dict[_TaskName, CustomTask] = Field(default_factory=dict)
    """Name -> a task of your own, for source `files`."""
    hub: HubParams | None = None
    """The block of source `hub`."""

    @model_validator(mode="after")
    def _source_has_its_block(self) -> "TasksParams":
        if self.source == "hub" and self.hub is None:
            raise ValueError("source is 'hub': state path and revision in tasks.hub")
        if self.source != "hub" and self.hub is not None:
            raise ValueError(f"tasks.hub is given but source is {self.source!r}")
        if self.custom and self.source != "files":
            raise ValueError(
                f"tasks.custom is given but source is {self.source!r}, expected 'files' with "
                "tasks.input as the folder that the custom tasks' files lie in"
            )
        return self
