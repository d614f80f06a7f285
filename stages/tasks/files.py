"""Source `files`: GLUE's folders, SQuAD's and the user's own tasks below one root.

In: the root, and the table of tasks (glue.py, tasks.custom). Out: every task that is there, one at
a time. A task of GLUE or SQuAD is available where its folder is; then its required files must be
there too. A custom task was asked for by name and must be there.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import get_args

from stages.core.errors import ArtifactError, SettingsError
from stages.tasks.glue import GLUE
from stages.tasks.labels import ClassIds, Scores, found_classes
from stages.tasks.notes import note_of
from stages.tasks.params import CustomTask, FileFormat
from stages.tasks.specs import SplitSpec, TaskSpec
from stages.tasks.splits import Split, Task
from stages.tasks.squad import NAME as SQUAD
from stages.tasks.squad import read_squad, squad_folder
from stages.tasks.tables import Row, Table, read_table

_TRAIN = "train"


def read_files(root: Path, custom: Mapping[str, CustomTask]) -> Iterator[Task]:
    """Yield every available task: GLUE's in the order of the table, SQuAD, then the custom ones.

    Raises: ArtifactError: nothing is there, or a task's file is missing or faulty.
        SettingsError: a custom task is declared wrongly.
    """
    own = [custom_spec(name, task) for name, task in custom.items()]
    if not root.is_dir():
        raise ArtifactError(
            f"{root}: {'is a file' if root.exists() else 'not found'}, expected the folder of the "
            "tasks (glue_data); set tasks.input in params.yaml to it"
        )
    glue = [spec for spec in GLUE.values() if is_available(spec, root)]
    squad = squad_folder(root)
    if not (glue or squad or own):
        raise ArtifactError(
            f"{root}: no task is there, expected a folder of GLUE's ({', '.join(GLUE)}), {SQUAD}, "
            "or tasks declared in tasks.custom; set tasks.input in params.yaml to the folder above "
            "them"
        )
    for spec in glue:
        yield read_task(spec, root)
    if squad is not None:
        yield read_squad(squad)
    for spec in own:
        yield read_task(spec, root)


def is_available(spec: TaskSpec, root: Path) -> bool:
    """Whether the folder of the task's training examples is there."""
    return any((root / file).parent.is_dir() for file in spec.splits[_TRAIN].files)


def custom_spec(name: str, task: CustomTask) -> TaskSpec:
    """A user's own task as an entry of the table.

    Raises: SettingsError: its name is taken, or its files' format cannot be told.
    """
    where = f"params.yaml: tasks.custom.{name}"
    if name in GLUE or name == SQUAD or name.startswith("sample-"):
        raise SettingsError(f"{where}: the name is taken (GLUE, SQuAD, sample-…), choose another")
    if "f1" in task.metrics and task.labels is not None and len(task.labels) != 2:
        raise SettingsError(
            f"{where}.metrics: f1 is of two classes and there are {len(task.labels)}; use macro_f1"
        )
    named = {"train": task.train, "dev": task.dev, "test": task.test}
    files = {split: file for split, file in named.items() if file is not None}
    return TaskSpec(
        name=name,
        kind=task.kind,
        metrics=task.metrics,
        labels=task.labels,
        format=task.format or _format_of(list(files.values()), where),
        splits={
            split: SplitSpec(
                (file,),
                task.text_columns,
                task.label_column,
                is_label_optional=split == "test" and task.has_header,
                has_header=task.has_header,
            )
            for split, file in files.items()
        },
    )


def read_task(spec: TaskSpec, root: Path) -> Task:
    """Read a task's splits.

    Raises: ArtifactError: a file is missing or faulty.
    """
    classes = spec.labels if spec.labels is not None else _classes_of_train(spec, root)
    labels = Scores(spec.score_range) if classes is None else ClassIds(spec.label_values or classes)
    if "f1" in spec.metrics and classes is not None and len(classes) != 2:
        raise ArtifactError(
            f"{root}: {spec.name} has {len(classes)} classes in train, and f1 is of two; use "
            f"macro_f1 in tasks.custom.{spec.name}.metrics"
        )
    splits = {}
    for name, split in spec.splits.items():
        path = _find_file(spec, split, root)
        if path is not None:
            splits[name] = _read_split(spec, split, path, labels)
    return Task(
        name=spec.name,
        kind=spec.kind,
        metrics=spec.metrics,
        labels=classes,
        splits=splits,
        is_pair=spec.is_pair,
        score_range=spec.score_range,
        is_glue=spec.is_glue,
        note=note_of(spec.published_sizes, {name: len(split) for name, split in splits.items()}),
    )


def _read_split(spec: TaskSpec, split: SplitSpec, path: Path, labels: ClassIds | Scores) -> Split:
    table = _open(spec, split, path)
    has_labels = split.label_column is not None and split.label_column in table.columns
    texts: list[tuple[str, ...]] = []
    found: list[float] = []
    num_skipped = 0
    for row in table.rows:
        if row.values is None:
            num_skipped += 1
            if not has_labels or not spec.max_broken_row_fraction:
                raise _broken_row(table, row)
            continue
        if has_labels:
            found.append(labels.parse(row.values[-1], path, row.line))
        texts.append(row.values[: len(split.text_columns)])
        if not spec.is_glue and not all(text.strip() for text in texts[-1]):
            raise ArtifactError(
                f"{path}: line {row.line}: a text is empty, expected some in "
                f"{list(split.text_columns)}; fill it, or take the line out"
            )
    if num_skipped > spec.max_broken_row_fraction * (len(texts) + num_skipped):
        raise ArtifactError(
            f"{path}: {num_skipped} of {len(texts) + num_skipped} rows have not {table.width} "
            f"columns, expected a share of {spec.max_broken_row_fraction:g} at most; get the file "
            "again, or check its separators"
        )
    if not texts:
        raise ArtifactError(f"{path}: holds a header and no example; fill or remove it")
    columns = list(zip(*texts, strict=True))
    return Split(
        texts_a=columns[0],
        texts_b=columns[1] if spec.is_pair else None,
        labels=found if has_labels else None,
        num_skipped_rows=num_skipped,
    )


def _open(spec: TaskSpec, split: SplitSpec, path: Path) -> Table:
    label = [] if split.label_column is None else [split.label_column]
    return read_table(
        path,
        spec.format,
        [*split.text_columns, *label],
        optional=label if split.is_label_optional else (),
        has_header=split.has_header,
    )


def _classes_of_train(spec: TaskSpec, root: Path) -> tuple[str, ...] | None:
    if spec.kind == "regression":
        return None
    split = spec.splits[_TRAIN]
    path = _find_file(spec, split, root)
    assert path is not None, "train is required"
    rows = _open(spec, split, path).rows
    return found_classes(spec, (row.values[-1] for row in rows if row.values is not None), path)


def _find_file(spec: TaskSpec, split: SplitSpec, root: Path) -> Path | None:
    """The file of a split; None where an optional one is not there.

    Raises: ArtifactError: a required one is not there.
    """
    for file in split.files:
        if (root / file).is_file():
            return root / file
    if not split.is_required:
        return None
    raise ArtifactError(
        f"{root / split.files[0]}: not found, and {spec.name} needs it; add the file, or "
        + ("remove the task's folder" if spec.is_glue else f"correct tasks.custom.{spec.name}")
    )


def _broken_row(table: Table, row: Row) -> ArtifactError:
    return ArtifactError(
        f"{table.path}: line {row.line}: has {row.found_width} columns, expected {table.width} as "
        "in the first line; correct the line (a text must not hold the separator or a line end, "
        "but for csv inside quotes)"
    )


def _format_of(files: list[str], where: str) -> FileFormat:
    """The one format that the files' suffixes name.

    Raises: SettingsError: they name none, or several.
    """
    suffixes = {PurePosixPath(file).suffix.lower().lstrip(".") for file in files}
    known = {name: name for name in get_args(FileFormat)}
    if len(suffixes) == 1 and (suffix := suffixes.pop()) in known:
        return known[suffix]
    raise SettingsError(
        f"{where}: format is not stated and the files are {files}, expected one suffix of "
        f"{sorted(known)}; state the format"
    )
