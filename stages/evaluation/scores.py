"""What fine-tuning measured for one task, read strictly: no score is guessed or filled in.

In: `metrics.json` of one task and its entry in the tasks manifest. Out: `TaskScores`, a value for
every system, measure and seed, and the bootstrap intervals over the task's examples. A measure is a
metric on a split: MNLI's accuracy on `dev` and on `dev_mismatched` are two measures of one task.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.errors import ArtifactError

SYSTEMS = ("encoder", "twin")
SYSTEM_NAMES = {"encoder": "encoder", "twin": "random twin"}
SCORE, DIFFERENCE = "score", "difference"
Interval = tuple[float, float]
MAIN_SPLIT = "dev"
_METRIC_WORDS = {
    "f1": "F1",
    "macro_f1": "macro F1",
    "matthews_correlation": "Matthews correlation",
    "pearson": "Pearson",
    "spearman": "Spearman",
}
AGAIN = "run the fine-tuning of this task again (dvc repro)"


@dataclass(frozen=True, order=True)
class Measure:
    """One metric on one split."""

    split: str
    metric: str

    @property
    def label(self) -> str:
        """`accuracy` on the development set, `dev_mismatched/accuracy` on another split."""
        return self.metric if self.split == MAIN_SPLIT else f"{self.split}/{self.metric}"

    @property
    def words(self) -> str:
        """`accuracy`, or `accuracy on dev mismatched`, for people."""
        metric = _METRIC_WORDS.get(self.metric, self.metric.replace("_", " "))
        where = "" if self.split == MAIN_SPLIT else f" on {self.split.replace('_', ' ')}"
        return f"{metric}{where}"


@dataclass(frozen=True)
class TaskScores:
    """Every score of one task: system -> measure -> one value for each of `seeds`."""

    name: str
    seeds: tuple[int, ...]
    measures: tuple[Measure, ...]
    values: Mapping[str, Mapping[Measure, tuple[float, ...]]]
    intervals: Mapping[str, Mapping[str, Interval]]
    """Label of a measure, or `score` for the mean of all -> the middle 95 % over resampled examples
    of each system's mean over the seeds, and of their `difference`."""

    def task_scores(self, system: str) -> tuple[float, ...]:
        """The mean of all measures, for each seed."""
        columns = zip(*(self.values[system][measure] for measure in self.measures), strict=True)
        return tuple(math.fsum(column) / len(self.measures) for column in columns)


def parse_scores(
    name: str, content: Any, *, metrics: Sequence[str], seeds: Sequence[int], where: str
) -> TaskScores:
    """Read a task's `metrics.json`; `where` names the file in messages.

    `metrics` are the task's own, `seeds` those of the settings: both must be there exactly.
    Raises: ArtifactError: a system, seed, metric or value is missing, unknown or not a number.
    """
    systems = content.get("systems") if isinstance(content, Mapping) else None
    if not isinstance(systems, Mapping) or set(systems) != set(SYSTEMS):
        found = sorted(systems) if isinstance(systems, Mapping) else type(systems).__name__
        raise ArtifactError(f"{where}: systems are {found}, expected {list(SYSTEMS)}; {AGAIN}")
    by_seed = {system: _by_seed(systems[system], seeds, f"{where}: {system}") for system in SYSTEMS}
    measures = _measures(by_seed["encoder"][seeds[0]], metrics, where)
    values = {
        system: {
            measure: tuple(
                _value(by_seed[system][seed], measure, f"{where}: {system}, seed {seed}")
                for seed in seeds
            )
            for measure in measures
        }
        for system in SYSTEMS
    }
    intervals = {
        label: _intervals(content.get("intervals"), label, where)
        for label in (*(measure.label for measure in measures), SCORE)
    }
    return TaskScores(name, tuple(seeds), measures, values, intervals)


def _intervals(content: Any, label: str, where: str) -> dict[str, Interval]:
    """The intervals of one measure, for both systems and their difference."""
    entry = content.get(label) if isinstance(content, Mapping) else None
    found = entry if isinstance(entry, Mapping) else {}
    names = (*SYSTEMS, DIFFERENCE)
    intervals = {name: _interval(found.get(name)) for name in names}
    wrong = [name for name, interval in intervals.items() if interval is None]
    if wrong:
        raise ArtifactError(
            f"{where}: the interval of {label} is {found.get(wrong[0])!r} for {wrong[0]}, expected "
            f"two finite numbers, the lower one first; {AGAIN}"
        )
    return {name: interval for name, interval in intervals.items() if interval is not None}


def _interval(value: Any) -> Interval | None:
    is_pair = isinstance(value, list) and len(value) == 2
    if not is_pair or not all(isinstance(end, float) and math.isfinite(end) for end in value):
        return None
    low, high = value
    return (low, high) if low <= high else None


def _by_seed(system: Any, seeds: Sequence[int], where: str) -> dict[int, Mapping[str, Any]]:
    """Seed -> its scores, for exactly the seeds that are set."""
    entries = system.get("seeds") if isinstance(system, Mapping) else None
    found = sorted(entries) if isinstance(entries, Mapping) else []
    if not isinstance(entries, Mapping) or set(entries) != {str(seed) for seed in seeds}:
        raise ArtifactError(
            f"{where}: scores of the seeds {found}, expected {[str(seed) for seed in seeds]} "
            f"(finetuning.seeds); {AGAIN}"
        )
    return {seed: entries[str(seed)] for seed in seeds}


def _measures(entry: Mapping[str, Any], metrics: Sequence[str], where: str) -> tuple[Measure, ...]:
    """Every (split, metric) of one seed's scores: the main development set first.

    Further splits stand below their name; only development sets are evaluated.
    """
    further = {key for key, value in entry.items() if isinstance(value, Mapping)}
    unknown = sorted(set(entry) - set(metrics) - further)
    if unknown:
        raise ArtifactError(
            f"{where}: scores {unknown} are not among the task's metrics {list(metrics)}; {AGAIN}"
        )
    splits = [MAIN_SPLIT, *sorted(split for split in further if split.startswith(MAIN_SPLIT))]
    return tuple(Measure(split, metric) for split in splits for metric in metrics)


def _value(entry: Mapping[str, Any], measure: Measure, where: str) -> float:
    scores = entry if measure.split == MAIN_SPLIT else entry.get(measure.split)
    value = scores.get(measure.metric) if isinstance(scores, Mapping) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or not is_number or not math.isfinite(value):
        raise ArtifactError(
            f"{where}: {measure.label} is {value!r}, expected a finite number; {AGAIN}"
        )
    return float(value)


def long_form(tasks: Sequence[TaskScores]) -> str:
    """Every score as CSV in long form: task, system, seed, split, metric, value."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("task", "system", "seed", "split", "metric", "value"))
    for task in tasks:
        for system in SYSTEMS:
            for position, seed in enumerate(task.seeds):
                for measure in task.measures:
                    value = task.values[system][measure][position]
                    writer.writerow(
                        (task.name, system, seed, measure.split, measure.metric, repr(value))
                    )
    return stream.getvalue()
