"""From scores to what may be said of them: means, spread over seeds, verdicts, macro scores.

Pure functions. GLUE tasks, SQuAD, a user's own and sample tasks are families, and no number ever
mixes two of them. A verdict is a plain rule on the spread over seeds and on the interval over
examples, told in words beside it: a handful of seeds supports no test that deserves a p-value.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.evaluation.scores import DIFFERENCE, SCORE, SYSTEMS, Interval, TaskScores

AHEAD, LEVEL, BEHIND = "ahead", "not distinguishable", "behind"
FAMILIES = {
    "glue": "GLUE tasks",
    "squad": "SQuAD tasks",
    "own": "own tasks",
    "sample": "sample tasks",
}
SAMPLE_PREFIX = "sample-"
# Wang et al. 2019, table 1.
GLUE_TASKS = ("CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE", "WNLI")
_DIGITS = 6


@dataclass(frozen=True)
class Spread:
    """One number over the seeds; `sd` is the sample's (n - 1), None for a single seed."""

    mean: float
    median: float
    sd: float | None
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class Verdict:
    """What the seeds allow to say of the encoder beside its random twin."""

    word: str
    difference: float
    pooled_sd: float | None


def spread(values: Sequence[float]) -> Spread:
    """Mean, median and standard deviation over the seeds."""
    return Spread(
        mean=math.fsum(values) / len(values),
        median=statistics.median(values),
        sd=statistics.stdev(values) if len(values) > 1 else None,
        seeds=tuple(values),
    )


def judge(
    encoder: Spread, twin: Spread, interval: Interval, clear_difference_deviations: float
) -> Verdict:
    """Tell two means apart by the seeds' pooled deviation and the interval; see `verdict_rule`.

    `interval` is that of their difference over resampled examples.
    """
    difference = encoder.mean - twin.mean
    if encoder.sd is None or twin.sd is None:
        return Verdict(LEVEL, difference, None)
    pooled_sd = math.sqrt((encoder.sd**2 + twin.sd**2) / 2)
    low, high = interval
    is_clear = abs(difference) > clear_difference_deviations * pooled_sd
    if is_clear and difference > 0 and low > 0:
        return Verdict(AHEAD, difference, pooled_sd)
    if is_clear and difference < 0 and high < 0:
        return Verdict(BEHIND, difference, pooled_sd)
    return Verdict(LEVEL, difference, pooled_sd)


def verdict_rule(clear_difference_deviations: float) -> str:
    """The rule of `judge`, in words."""
    return (
        "Ahead: the encoder's mean task score over the seeds is above the twin's by more than "
        f"{clear_difference_deviations:g} times the pooled standard deviation over the seeds (the "
        "root of the mean of both variances), and the 95 % interval of the difference lies above "
        "0. Behind: below it in the same way. Otherwise, and always with a single seed, the two "
        "are not distinguishable. The deviation weighs chance in training; the interval, a paired "
        "bootstrap over the development examples, weighs that they are a sample, often a small one."
    )


def family(name: str, facts: Mapping[str, Any]) -> str:
    """The family of a task: a sample task is one by its name, whatever its manifest says.

    Answers extracted from a text are SQuAD's family, for their measures are those of no other.
    """
    if name.startswith(SAMPLE_PREFIX):
        return "sample"
    if facts.get("kind") == "extraction":
        return "squad"
    return "glue" if facts["is_glue"] else "own"


def macro_scores(
    tasks: Sequence[TaskScores], families: Mapping[str, str], leaves_out: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Family -> its macro score for both systems, with the rule that made it.

    A family whose tasks are all left out has none. The seed of a macro score is that seed's task
    scores averaged, so that its spread counts how tasks move together.
    """
    macros = {}
    for key in FAMILIES:
        members = [task for task in tasks if families[task.name] == key]
        counted = [task for task in members if task.name not in leaves_out]
        if not counted:
            continue
        macro: dict[str, Any] = {
            "tasks": [task.name for task in counted],
            "left_out": [task.name for task in members if task.name in leaves_out],
            "rule": averaging_rule(key, members, leaves_out),
        }
        for system in SYSTEMS:
            columns = zip(*(task.task_scores(system) for task in counted), strict=True)
            over_seeds = spread([math.fsum(column) / len(counted) for column in columns])
            macro[system] = rounded(over_seeds.mean)
            macro[f"{system}_median"] = rounded(over_seeds.median)
            macro[f"{system}_sd"] = rounded(over_seeds.sd)
            macro[f"{system}_interval"] = _interval(counted, over_seeds.mean, system)
        macro["difference"] = rounded(macro["encoder"] - macro["twin"])
        macro["interval"] = _interval(counted, macro["difference"], DIFFERENCE)
        macros[key] = macro
    return macros


def _interval(tasks: Sequence[TaskScores], value: float, name: str) -> list[float | None]:
    """The 95 % interval of a mean over tasks, whose examples are independent.

    `name`: a system, or the difference. Variances add up, and an interval's width goes with the
    standard error.
    """
    intervals = [task.intervals[SCORE][name] for task in tasks]
    if len(intervals) == 1:
        return [rounded(end) for end in intervals[0]]
    squares = math.fsum((high - low) ** 2 for low, high in intervals)
    half = math.sqrt(squares) / (2 * len(intervals))
    return [rounded(value - half), rounded(value + half)]


def averaging_rule(key: str, members: Sequence[TaskScores], leaves_out: Sequence[str]) -> str:
    """How one family's macro score was made: tasks, measures, seeds, and what is not in it."""
    counted = [task for task in members if task.name not in leaves_out]
    skipped = [task.name for task in members if task.name in leaves_out]
    parts = "; ".join(
        f"{task.name}: {_enumerate([measure.words for measure in task.measures])}"
        for task in counted
    )
    seeds = ", ".join(str(seed) for seed in counted[0].seeds)
    text = [
        f"Mean over {len(counted)} {FAMILIES[key]} ({parts})."
        if len(counted) > 1
        else f"The score of the only task counted ({parts}).",
        "A task's score is the mean of its measures, on the development set;"
        f" every score is the mean over the seeds {seeds}.",
    ]
    if len(counted) > 1:
        text.append("Its intervals add up those of the tasks as independent.")
    if any(len({measure.split for measure in task.measures}) > 1 for task in counted):
        text.append("Several development sets of one task count as one task.")
    if skipped:
        text.append(f"Shown, but left out of the mean: {_enumerate(skipped)}.")
    if key == "glue":
        names = {task.name for task in members}
        missing = [name for name in GLUE_TASKS if name not in names]
        if missing:
            text.append(f"Not evaluated: {_enumerate(missing)}.")
        text.append("Not scored by GLUE's test server.")
    if key == "squad":
        text.append("Exact match and F1 as SQuAD's own scorer has them; no part of GLUE.")
    if key == "sample":
        text.append("Sample tasks are made from documentation; they are no part of GLUE.")
    return " ".join(text)


def describe(
    task: TaskScores, facts: Mapping[str, Any], clear_difference_deviations: float
) -> dict[str, Any]:
    """One task's entry in `evaluation.json`."""
    scores = {system: spread(task.task_scores(system)) for system in SYSTEMS}
    interval = task.intervals[SCORE][DIFFERENCE]
    verdict = judge(scores["encoder"], scores["twin"], interval, clear_difference_deviations)
    entry: dict[str, Any] = {
        system: {
            measure.label: _spread_entry(spread(task.values[system][measure]))
            for measure in task.measures
        }
        for system in SYSTEMS
    }
    entry["score"] = {system: _spread_entry(scores[system]) for system in SYSTEMS}
    entry["verdict"] = verdict.word
    entry["difference"] = rounded(verdict.difference)
    entry["pooled_sd"] = rounded(verdict.pooled_sd)
    entry["intervals"] = {
        label: {name: [rounded(end) for end in ends] for name, ends in by_name.items()}
        for label, by_name in task.intervals.items()
    }
    entry["family"] = family(task.name, facts)
    entry["is_glue"] = entry["family"] == "glue"
    entry["note"] = facts.get("note") or ""
    return entry


def _spread_entry(values: Spread) -> dict[str, Any]:
    return {
        "mean": rounded(values.mean),
        "median": rounded(values.median),
        "sd": rounded(values.sd),
        "seeds": [rounded(value) for value in values.seeds],
    }


def rounded(value: float | None) -> float | None:
    """Six digits after the point, and never a negative zero."""
    return None if value is None else round(value, _DIGITS) + 0.0


def _enumerate(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
