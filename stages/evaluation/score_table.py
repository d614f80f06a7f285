"""The score table: one row a task and, below it, one a measure, each with its strip of dots.

All strips share one axis, so that the column reads as a single dot plot. Scores are shown times
100; a correlation may lie below zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.evaluation.charts import Axis, Lane, nice_axis, strip
from stages.evaluation.facts import deviation, points, signed_points
from stages.evaluation.scores import (
    DIFFERENCE,
    SCORE,
    SYSTEM_NAMES,
    SYSTEMS,
    Interval,
    Measure,
    TaskScores,
)
from stages.evaluation.summary import Spread, spread

_NUM_INTERVALS = 5
_SIGNS = {"ahead": "\u25b2", "behind": "\u25bc", "not distinguishable": "\u25cf"}


@dataclass(frozen=True)
class Row:
    """One row of scores: a task's own, or one of its measures."""

    detail: str
    strip: str
    encoder: tuple[str, str, str]
    """Mean, deviation over the seeds, interval over resampled examples."""
    twin: tuple[str, str, str]
    difference: tuple[str, str]
    """The encoder's lead, and its interval over resampled examples."""


@dataclass(frozen=True)
class TaskRows:
    """A task as the template shows it; the first row is the task's score."""

    name: str
    verdict: str
    sign: str
    notes: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class SeedRow:
    """One line of the table of every seed."""

    measure: str
    system: str
    values: tuple[str, ...]
    mean: str
    median: str
    sd: str


def shared_axis(tasks: Sequence[TaskScores]) -> Axis:
    """One axis that holds every score of every task, and its interval, times 100."""
    values = [
        100 * value
        for task in tasks
        for system in SYSTEMS
        for measure in task.measures
        for value in (*task.values[system][measure], *task.intervals[measure.label][system])
    ]
    return nice_axis(min(values), max(values), _NUM_INTERVALS)


def task_rows(
    task: TaskScores, verdict: str, notes: Sequence[str], axis: Axis, identity: str
) -> TaskRows:
    """A task's rows; `identity` begins the ids of its charts."""
    parts = [
        (measure.words, _spreads(task, measure), task.intervals[measure.label])
        for measure in task.measures
    ]
    if len(parts) > 1:
        whole = {system: spread(task.task_scores(system)) for system in SYSTEMS}
        parts.insert(0, (f"mean of {len(parts)} measures", whole, task.intervals[SCORE]))
    return TaskRows(
        name=task.name,
        verdict=verdict,
        sign=_SIGNS[verdict],
        notes=tuple(notes),
        rows=tuple(
            _row((f"{identity}-{number}", task.name, task.seeds), part, axis)
            for number, part in enumerate(parts)
        ),
    )


Part = tuple[str, Mapping[str, Spread], Mapping[str, Interval]]


def _row(chart: tuple[str, str, Sequence[int]], part: Part, axis: Axis) -> Row:
    """One row; `chart` is the identity of its strip, the task's name and the seeds."""
    (identity, name, seeds), (detail, scores, intervals) = chart, part
    lanes = [_lane(system, seeds, scores[system], intervals[system]) for system in SYSTEMS]
    description = "; ".join(
        f"{lane.name}: mean {points(lane.mean / 100)}, seeds "
        + ", ".join(points(value / 100) for value in lane.values)
        for lane in lanes
    )
    encoder, twin = ((*_mean_and_sd(scores[one]), _ends(intervals[one])) for one in SYSTEMS)
    difference = scores["encoder"].mean - scores["twin"].mean
    return Row(
        detail=detail,
        strip=strip(identity, f"{name}, {detail}", description, lanes, axis),
        encoder=encoder,
        twin=twin,
        difference=_lead(difference, intervals[DIFFERENCE]),
    )


def _spreads(task: TaskScores, measure: Measure) -> dict[str, Spread]:
    return {system: spread(task.values[system][measure]) for system in SYSTEMS}


def _lane(system: str, seeds: Sequence[int], scores: Spread, interval: Interval) -> Lane:
    name = SYSTEM_NAMES[system]
    low, high = interval
    return Lane(
        style=system,
        name=name,
        mean=100 * scores.mean,
        values=[100 * value for value in scores.seeds],
        labels=[
            f"{name}, seed {seed}: {points(value)}"
            for seed, value in zip(seeds, scores.seeds, strict=True)
        ],
        interval=(100 * low, 100 * high),
    )


def _lead(difference: float, interval: Interval) -> tuple[str, str]:
    low, high = interval
    return signed_points(difference), f"{signed_points(low)} to {signed_points(high)}"


def _ends(interval: Interval) -> str:
    low, high = interval
    return f"{points(low)} to {points(high)}"


def _mean_and_sd(values: Spread) -> tuple[str, str]:
    return points(values.mean), deviation(values.sd)


def seed_rows(task: TaskScores) -> list[SeedRow]:
    """Every score of a task: a line for each measure and system."""
    rows = []
    for measure in task.measures:
        for system in SYSTEMS:
            values = spread(task.values[system][measure])
            rows.append(
                SeedRow(
                    measure=measure.words,
                    system=SYSTEM_NAMES[system],
                    values=tuple(points(value) for value in values.seeds),
                    mean=points(values.mean),
                    median=points(values.median),
                    sd=points(values.sd),
                )
            )
    return rows
