"""A label as the file spells it -> a class id or a score."""

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from stages.core.errors import ArtifactError
from stages.tasks.specs import TaskSpec

_LEAST_CLASSES = 2
_SHOWN_CLASSES = 12


class ClassIds:
    """Class ids by the files' spelling of a label."""

    def __init__(self, values: Iterable[str]) -> None:
        self._ids: Mapping[str, int] = {value: number for number, value in enumerate(values)}

    def parse(self, text: str, path: Path, line: int) -> int:
        """The class id of a label.

        Raises: ArtifactError: it is no label of the task.
        """
        number = self._ids.get(text)
        if number is None:
            known = list(self._ids)
            near = get_close_matches(text, known, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            more = ", …" if len(known) > _SHOWN_CLASSES else ""
            shown = ", ".join(repr(value) for value in known[:_SHOWN_CLASSES])
            raise ArtifactError(
                f"{path}: line {line}: label is {text!r}, expected one of {shown}{more}{hint}; "
                "correct the label, or the task's labels"
            )
        return number


class Scores:
    """Scores of a regression, finite and in the task's range."""

    def __init__(self, score_range: tuple[float, float] | None) -> None:
        self._low, self._high = score_range or (-math.inf, math.inf)

    def parse(self, text: str, path: Path, line: int) -> float:
        """The score.

        Raises: ArtifactError: it is no finite number, or out of range.
        """
        try:
            score = float(text)
        except ValueError:
            score = math.nan
        if not (math.isfinite(score) and self._low <= score <= self._high):
            raise ArtifactError(
                f"{path}: line {line}: score is {text!r}, expected a number"
                + (f" in {self._low:g} to {self._high:g}" if math.isfinite(self._low) else "")
                + "; correct the score, or name another label column"
            )
        return score


def found_classes(spec: TaskSpec, texts: Iterable[str], path: Path) -> tuple[str, ...]:
    """The classes of a task that declares none: those of its train split, sorted.

    Raises: ArtifactError: there are fewer than two.
    """
    classes = tuple(sorted(set(texts)))
    if len(classes) < _LEAST_CLASSES:
        raise ArtifactError(
            f"{path}: {spec.name} has {len(classes)} class in train ({', '.join(classes)}), "
            "expected at least 2; check label_column"
        )
    return classes
