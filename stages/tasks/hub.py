"""Source `hub`: GLUE and SQuAD as the Hugging Face hub holds them, at pinned revisions.

The tasks are those of glue.py; only the names of configurations, splits and columns are the hub's.
A label of -1 is none: that is how the hub marks test sets. A dataset that lacks one of GLUE's
configurations, such as a local copy of a few, gives the others. SQuAD is a repository of its own.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from stages.core.errors import ArtifactError
from stages.tasks.glue import AX, GLUE
from stages.tasks.notes import note_of
from stages.tasks.params import HubDataset, HubParams
from stages.tasks.questions import Questions, checked_question, require_distinct_ids
from stages.tasks.specs import TaskSpec
from stages.tasks.splits import Split, Task
from stages.tasks.squad import squad_task

_UNLABELLED = -1
_LABEL = "label"
_SQUAD_COLUMNS = {"id", "question", "context", "answers"}
_MNLI_SPLITS = {
    "train": "train",
    "dev": "validation_matched",
    "dev_mismatched": "validation_mismatched",
    "test": "test_matched",
    "test_mismatched": "test_mismatched",
}
_SPLITS = {"train": "train", "dev": "validation", "test": "test"}


@dataclass(frozen=True)
class HubTask:
    """The hub's names of a task."""

    configuration: str
    text_columns: tuple[str, ...]
    splits: Mapping[str, str]


_HUB_TASKS = {
    "CoLA": HubTask("cola", ("sentence",), _SPLITS),
    "SST-2": HubTask("sst2", ("sentence",), _SPLITS),
    "MRPC": HubTask("mrpc", ("sentence1", "sentence2"), _SPLITS),
    "STS-B": HubTask("stsb", ("sentence1", "sentence2"), _SPLITS),
    "QQP": HubTask("qqp", ("question1", "question2"), _SPLITS),
    "MNLI": HubTask("mnli", ("premise", "hypothesis"), _MNLI_SPLITS),
    "QNLI": HubTask("qnli", ("question", "sentence"), _SPLITS),
    "RTE": HubTask("rte", ("sentence1", "sentence2"), _SPLITS),
    "WNLI": HubTask("wnli", ("sentence1", "sentence2"), _SPLITS),
}


def read_hub(params: HubParams) -> Iterator[Task]:
    """Yield every task that the dataset has, in GLUE's order, then SQuAD if it is asked for.

    Raises: ArtifactError: a dataset cannot be loaded, has none of the tasks, or has other
        columns, labels or splits than GLUE, or SQuAD.
    """
    from datasets import get_dataset_config_names

    known = _asked(params, None, get_dataset_config_names)
    available = [name for name, task in _HUB_TASKS.items() if task.configuration in known]
    if not available:
        raise ArtifactError(
            f"hub dataset {params.path}: has the configurations {sorted(known)}, expected GLUE's "
            "(cola, sst2, …); check tasks.hub.path"
        )
    for name in available:
        yield _read_task(params, GLUE[name], _HUB_TASKS[name], known)
    if params.squad is not None:
        yield _read_squad(params.squad)


def _read_task(
    params: HubParams, spec: TaskSpec, hub_task: HubTask, known: Collection[str]
) -> Task:
    from datasets import load_dataset

    dataset = _asked(params, hub_task.configuration, load_dataset)
    where = f"hub dataset {params.path}, {hub_task.configuration}"
    splits = {
        ours: _read_split(dataset[theirs], spec, hub_task, f"{where}, {theirs}")
        for ours, theirs in hub_task.splits.items()
        if theirs in dataset
    }
    if AX in spec.splits and AX in known:
        diagnostic, place = _asked(params, AX, load_dataset), f"hub dataset {params.path}, {AX}"
        if "test" not in diagnostic:
            raise ArtifactError(
                f"{place}: has the splits {sorted(diagnostic)}, expected test; check "
                "tasks.hub.revision"
            )
        splits[AX] = _read_split(diagnostic["test"], spec, hub_task, place)
    if {"train", "dev"} - splits.keys():
        raise ArtifactError(
            f"{where}: has the splits {sorted(dataset)}, expected "
            f"{sorted(hub_task.splits.values())}; check tasks.hub.revision"
        )
    return Task(
        name=spec.name,
        kind=spec.kind,
        metrics=spec.metrics,
        labels=spec.labels,
        splits=splits,
        is_pair=spec.is_pair,
        score_range=spec.score_range,
        is_glue=True,
        note=note_of(spec.published_sizes, {name: len(split) for name, split in splits.items()}),
    )


def _read_split(dataset: Any, spec: TaskSpec, hub_task: HubTask, where: str) -> Split:
    columns = {*hub_task.text_columns, _LABEL}
    _require_columns(dataset, columns, where, "tasks.hub.path and revision")
    names = getattr(dataset.features[_LABEL], "names", None)
    if spec.labels is not None and names is not None and tuple(names) != spec.labels:
        raise ArtifactError(
            f"{where}: labels are {names}, expected {list(spec.labels)}: class ids would mean "
            "other classes; check tasks.hub.revision"
        )
    texts = [list(dataset[column]) for column in hub_task.text_columns]
    return Split(
        texts_a=texts[0],
        texts_b=texts[1] if spec.is_pair else None,
        labels=_labels(list(dataset[_LABEL]), spec, where),
    )


def _require_columns(dataset: Any, columns: Collection[str], where: str, settings: str) -> None:
    missing = sorted(set(columns) - set(dataset.column_names))
    if missing:
        raise ArtifactError(
            f"{where}: has the columns {dataset.column_names}, {missing} missing; check {settings}"
        )


def _labels(found: Sequence[Any], spec: TaskSpec, where: str) -> Sequence[Any] | None:
    """The labels; None where all are -1.

    Raises: ArtifactError: some are missing, or one is out of range.
    """
    if all(label == _UNLABELLED for label in found):
        return None
    low, high = spec.score_range or (0, len(spec.labels or ()) - 1)
    for row, label in enumerate(found):
        if label is None or not low <= label <= high:
            raise ArtifactError(
                f"{where}, row {row}: label is {label}, expected {low:g} to {high:g}, or "
                f"{_UNLABELLED} in every row of an unlabelled split"
            )
    return found


def _read_squad(repository: HubDataset) -> Task:
    from datasets import load_dataset

    dataset = _asked(repository, None, load_dataset)
    where = f"hub dataset {repository.path}"
    splits = {name: theirs for name, theirs in _SPLITS.items() if name != "test"}
    if set(splits.values()) - set(dataset):
        raise ArtifactError(
            f"{where}: has the splits {sorted(dataset)}, expected {sorted(splits.values())}; "
            "check tasks.hub.squad"
        )
    return squad_task(
        {
            name: _read_questions(dataset[split], f"{where}, {split}")
            for name, split in splits.items()
        }
    )


def _read_questions(dataset: Any, where: str) -> Questions:
    _require_columns(dataset, _SQUAD_COLUMNS, where, "tasks.hub.squad")
    records = []
    for number, row in enumerate(dataset):
        answers = list(zip_longest(row["answers"]["text"], row["answers"]["answer_start"]))
        place = f"{where}, row {number} (id {row['id']})"
        records.append(checked_question(row["id"], row["question"], row["context"], answers, place))
    require_distinct_ids(records, where)
    return Questions(records)


def _asked(params: HubDataset, configuration: str | None, ask: Any) -> Any:
    """Call one of `datasets`' functions for the pinned repository, its failures in our words."""
    names = [] if configuration is None else [configuration]
    try:
        return ask(params.path, *names, revision=params.revision)
    except (OSError, ValueError, RuntimeError) as error:
        raise ArtifactError(
            f"hub dataset {params.path} (configuration {configuration}, revision "
            f"{params.revision}): cannot be read ({type(error).__name__}: {error}); check "
            "tasks.hub, the network, and HF_HUB_OFFLINE"
        ) from error
