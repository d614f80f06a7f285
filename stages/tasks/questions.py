"""Questions whose answers stand in a text, checked one by one, and the table that holds them.

Whatever a question is read from, its parts pass `checked_question`: an answer is taken only where
it stands. Positions are counted in characters (code points) from 0, as SQuAD counts them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from stages.core.errors import ArtifactError

_SURROGATE = re.compile("[\ud800-\udfff]")
_EXCERPT_CHARACTERS = 40
_TYPES: dict[type, str] = {list: "a list", str: "text"}
_SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("id", pa.string()),
        ("question", pa.string()),
        ("context", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("answer_starts", pa.list_(pa.int64())),
    ]
)


@dataclass(frozen=True)
class Question:
    """A question about a context, and its answers as different people marked them."""

    id: str
    question: str
    context: str
    answers: tuple[str, ...]
    answer_starts: tuple[int, ...]  # answers[n] begins at character answer_starts[n] of the context


@dataclass(frozen=True)
class Questions:
    """The questions of one split, in file order."""

    records: Sequence[Question]

    def __len__(self) -> int:
        return len(self.records)

    def table(self) -> Any:
        """One row a question: index, id, question, context, answers, answer_starts."""
        columns: dict[str, list[Any]] = {
            name: [getattr(record, name) for record in self.records] for name in _SCHEMA.names[1:]
        }
        return pa.table({"index": list(range(len(self))), **columns}, schema=_SCHEMA)


def checked_question(
    question_id: Any, question: Any, context: Any, answers: Sequence[tuple[Any, Any]], where: str
) -> Question:
    """The question, if its parts are what they should be; `answers` are of (text, start).

    Raises: ArtifactError: a text is empty, missing or invalid, there is no answer, or an answer
        does not stand where it is said to.
    """
    texts = {"id": question_id, "question": question, "context": context}
    for name, text in texts.items():
        _require_text(text, f"{where}: {name}")
    if not answers:
        raise ArtifactError(
            f"{where}: has no answer, expected at least one; complete it, or take the question "
            "out (SQuAD 2.0's unanswerable questions are not supported)"
        )
    for number, (text, start) in enumerate(answers):
        _require_text(text, f"{where}: answers[{number}].text")
        _require_place(text, start, context, f"{where}: answers[{number}]")
    return Question(
        id=question_id,
        question=question,
        context=context,
        answers=tuple(text for text, _ in answers),
        answer_starts=tuple(start for _, start in answers),
    )


def require_distinct_ids(records: Sequence[Question], where: str) -> None:
    """Refuse a split in which an id is there twice: predictions are scored by it.

    Raises: ArtifactError: one is.
    """
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            raise ArtifactError(
                f"{where}: two questions have the id {record.id!r}, expected one; give each its own"
            )
        seen.add(record.id)


def _require_text(text: Any, where: str) -> None:
    is_text = isinstance(text, str) and bool(text.strip())
    if not is_text or (not text.isascii() and _SURROGATE.search(text)):
        raise ArtifactError(f"{where} is {text!r}, expected text; mend the source")


def _require_place(text: str, start: Any, context: str, where: str) -> None:
    if isinstance(start, bool) or not isinstance(start, int):
        raise ArtifactError(f"{where}.answer_start is {start!r}, expected a whole number")
    if start < 0 or not context.startswith(text, start):
        found = context[start : start + len(text)] if start >= 0 else ""
        raise ArtifactError(
            f"{where}.answer_start is {start}, where the context has {_excerpt(found)}, expected "
            f"the answer {_excerpt(text)}; count characters, not bytes, from 0"
        )


def _excerpt(text: str) -> str:
    short = text if len(text) <= _EXCERPT_CHARACTERS else f"{text[:_EXCERPT_CHARACTERS]}…"
    return repr(short)


def read_field(record: Any, name: str, expected: type, where: str) -> Any:
    """A field of a JSON object, of the type expected.

    Raises: ArtifactError: `record` is no object, or its field is missing or of another type.
    """
    if not isinstance(record, Mapping):
        raise ArtifactError(f"{where}: is {_shown(record)}, expected an object")
    value = record.get(name)
    if not isinstance(value, expected):
        raise ArtifactError(f"{where}: {name} is {_shown(value)}, expected {_TYPES[expected]}")
    return value


def _shown(value: Any) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"
