"""SQuAD 1.1 in its published layout: one JSON file a split, plain or gzip.

In: the root of the tasks' files. Out: the task, where a folder `SQuAD` or `squad` is there. A file
holds articles, an article paragraphs, a paragraph one context and its questions.
Source: Rajpurkar et al. 2016; sizes: rajpurkar.github.io/SQuAD-explorer.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError
from stages.tasks.notes import note_of
from stages.tasks.questions import (
    Question,
    Questions,
    checked_question,
    read_field,
    require_distinct_ids,
)
from stages.tasks.splits import Task

NAME = "SQuAD"
_FOLDERS = ("SQuAD", "squad")
_FILES = {"train": "train-v1.1.json", "dev": "dev-v1.1.json"}
_SIZES = {"train": 87599, "dev": 10570}


def squad_folder(root: Path) -> Path | None:
    """The folder of SQuAD's files below the root, where there is one."""
    return next((root / name for name in _FOLDERS if (root / name).is_dir()), None)


def read_squad(folder: Path) -> Task:
    """Read train and dev.

    Raises: ArtifactError: a file is missing, no JSON or in another layout, or a question faulty.
    """
    return squad_task({name: _read_file(_find(folder, file)) for name, file in _FILES.items()})


def squad_task(splits: Mapping[str, Questions]) -> Task:
    """The task of these splits, wherever they were read."""
    return Task(
        name=NAME,
        kind="extraction",
        metrics=("exact_match", "f1"),
        labels=None,
        splits=splits,
        is_pair=True,
        note=note_of(_SIZES, {name: len(split) for name, split in splits.items()}),
    )


def _find(folder: Path, file: str) -> Path:
    for path in (folder / file, folder / f"{file}.gz"):
        if path.is_file():
            return path
    raise ArtifactError(
        f"{folder / file}: not found, nor with .gz behind it, and {NAME} needs it; add the file, "
        "or remove the folder"
    )


def _read_file(path: Path) -> Questions:
    records = list(_questions(_read_json(path), path))
    if not records:
        raise ArtifactError(f"{path}: holds no question; fill it, or remove the folder")
    require_distinct_ids(records, str(path))
    return Questions(records)


def _read_json(path: Path) -> Any:
    try:
        data = path.read_bytes()
        return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (OSError, EOFError, zlib.error) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); get the file again") from error
    except ValueError as error:  # UnicodeDecodeError among them
        raise ArtifactError(
            f"{path}: not JSON ({error}), expected {NAME} 1.1's file; get it again"
        ) from error


def _questions(content: Any, path: Path) -> Iterator[Question]:
    for article_number, article in _numbered(content, "data", str(path)):
        article_where = f"{path}: data[{article_number}]"
        for number, paragraph in _numbered(article, "paragraphs", article_where):
            where = f"{article_where}.paragraphs[{number}]"
            context = read_field(paragraph, "context", str, where)
            for place, one in _numbered(paragraph, "qas", where, may_be_empty=True):
                yield _question(one, context, f"{where}.qas[{place}]")


def _numbered(
    record: Any, name: str, where: str, *, may_be_empty: bool = False
) -> Iterator[tuple[int, Any]]:
    """The entries of a record's list, numbered from 0."""
    entries = read_field(record, name, list, where)
    if not entries and not may_be_empty:
        raise ArtifactError(f"{where}: {name} is empty, expected some; get the file again")
    return enumerate(entries)


def _question(record: Any, context: str, where: str) -> Question:
    question_id = read_field(record, "id", str, where)
    where = f"{where} (id {question_id})"
    answers = [
        (answer.get("text"), answer.get("answer_start")) if isinstance(answer, Mapping) else (0, 0)
        for answer in read_field(record, "answers", list, where)
    ]
    return checked_question(question_id, record.get("question"), context, answers, where)
