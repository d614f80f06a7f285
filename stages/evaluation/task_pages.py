"""A page for each task, in display form: everything that is known of one task, for a reader.

In: the task as read, its entry in `evaluation.json`, its rows of the score table. Out: `TaskPage`,
all of it text or SVG; the template only arranges. A page is a section of the report that a link
opens without a script.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.evaluation import facts
from stages.evaluation.charts import strip_axis
from stages.evaluation.curves import Curve
from stages.evaluation.diagnostics import calibrated
from stages.evaluation.diagrams import agreement, reliability
from stages.evaluation.epochs import epoch_curves
from stages.evaluation.finetuned import Finetuned
from stages.evaluation.mistakes import Mistake
from stages.evaluation.score_table import (
    SeedRow,
    TaskRows,
    seed_rows,
    shared_axis,
    task_rows,
)
from stages.evaluation.scores import MAIN_SPLIT, SYSTEM_NAMES, SYSTEMS
from stages.evaluation.selection import Selection

MOST_CLASSES = 12
_CLEAR_P_VALUE = 0.05
_SMALLEST_P_VALUE = 0.001
_MANIFEST_SETTINGS = ("mode", "features", "start", "settings", "trainings")


@dataclass(frozen=True)
class MatrixRow:
    """One label's examples by prediction: count, and share of the row as text and as a number."""

    name: str
    cells: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix of one system."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[MatrixRow, ...]


@dataclass(frozen=True)
class TrialRow:
    """One setting that a protocol tried; a score a seed, and whether it was chosen for it."""

    settings: str
    scores: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class SearchTable:
    """What a protocol tried for one system."""

    system: str
    rule: str
    seeds: tuple[int, ...]
    rows: tuple[TrialRow, ...]


@dataclass(frozen=True)
class TaskPage:
    """One task's page."""

    anchor: str
    task: TaskRows
    axis: str
    seeds: tuple[int, ...]
    seed_rows: Sequence[SeedRow]
    curves: Sequence[Curve]
    tests: Sequence[str]
    """McNemar's test in sentences."""
    diagram: Curve | None
    diagram_note: str
    matrices: Sequence[Matrix]
    tables: Sequence[facts.Table]
    mistakes: Sequence[Mistake]
    mistakes_heading: str
    searches: Sequence[SearchTable]
    settings: Sequence[tuple[str, str]]


def anchor(name: str) -> str:
    """The id of a task's page."""
    return f"task-{name}"


def task_page(
    task: Finetuned, entry: Mapping[str, Any], notes: Sequence[str], settings: Mapping[str, Any]
) -> TaskPage:
    """Arrange one task; `entry` is its part of evaluation.json, `settings` those of params.yaml."""
    identity = anchor(task.name)
    axis = shared_axis([task.scores])
    diagram, note = _diagram(task, entry, identity)
    return TaskPage(
        anchor=identity,
        task=task_rows(task.scores, entry["verdict"], notes, axis, identity),
        axis=strip_axis(axis),
        seeds=task.scores.seeds,
        seed_rows=seed_rows(task.scores),
        curves=epoch_curves(task.epochs, identity),
        tests=_tests(task, entry),
        diagram=diagram,
        diagram_note=note,
        matrices=_matrices(task, entry),
        tables=_tables(entry),
        mistakes=task.mistakes,
        mistakes_heading=_mistakes_heading(task),
        searches=[_search(system, found) for system, found in task.selections.items()],
        settings=_settings(task, settings),
    )


def _tests(task: Finetuned, entry: Mapping[str, Any]) -> list[str]:
    words = {measure.label: measure.words for measure in task.scores.measures}
    return [_test(words[label], test) for label, test in entry.get("mcnemar", {}).items()]


def _test(measure: str, test: Mapping[str, Any]) -> str:
    """McNemar's test as a sentence that says whether the difference is beyond chance."""
    p_value = test["p_value"]
    shown = f"p = {p_value:.3f}" if p_value >= _SMALLEST_P_VALUE else "p < 0.001"
    verdict = "beyond" if p_value < _CLEAR_P_VALUE else "not beyond"
    return (
        f"{measure[:1].upper()}{measure[1:]}: {test['only_encoder']:,} examples only the encoder "
        f"gets right, {test['only_twin']:,} only the random twin ({shown}): {verdict} chance at "
        "the 5 % level."
    )


def _diagram(task: Finetuned, entry: Mapping[str, Any], identity: str) -> tuple[Curve | None, str]:
    """A classifier's calibration, or a regression's agreement, and a sentence below it."""
    if task.are_questions:
        return None, ""
    main = {system: task.predictions[system][MAIN_SPLIT] for system in SYSTEMS}
    if not task.class_names:
        values = {system: one.values for system, one in main.items()}
        svg = agreement(f"{identity}-agreement", main["encoder"].labels, values)
        return Curve("Predicted and labelled scores", svg), "A point on the diagonal is right."
    found = {system: calibrated(one) for system, one in main.items()}
    errors = " and ".join(
        f"{facts.points(found[system].expected_error)} for the {SYSTEM_NAMES[system]}"
        for system in SYSTEMS
    )
    note = (
        "Right as often as it is sure: on the diagonal. A dot is a group of examples of which the "
        f"model is about equally sure, its area their share. Expected calibration error, in "
        f"points: {errors}, over {entry['calibration']['bins']} groups (Guo et al. 2017)."
    )
    return Curve("Calibration", reliability(f"{identity}-calibration", found)), note


def _matrices(task: Finetuned, entry: Mapping[str, Any]) -> list[Matrix]:
    if not 0 < len(task.class_names) <= MOST_CLASSES:
        return []
    return [
        _matrix(SYSTEM_NAMES[system], task.class_names, entry["confusion"][system])
        for system in SYSTEMS
    ]


def _matrix(name: str, class_names: Sequence[str], found: Sequence[Sequence[int]]) -> Matrix:
    rows = []
    for label, counts in zip(class_names, found, strict=True):
        total = sum(counts)
        shares = [count / total if total else 0.0 for count in counts]
        cells = tuple(
            (f"{count:,}", f"{100 * share:.0f} %", round(share, 3))
            for count, share in zip(counts, shares, strict=True)
        )
        rows.append(MatrixRow(label, cells))
    return Matrix(name, tuple(class_names), tuple(rows))


def _tables(entry: Mapping[str, Any]) -> list[facts.Table]:
    """Class counts, or the summary of residuals."""
    if "residuals" in entry:
        return facts.tables("", {"residuals": entry["residuals"]})
    classes: Mapping[str, Mapping[str, int]] = entry.get("classes", {})
    if not classes:
        return []
    columns = tuple(next(iter(classes.values())))
    rows = tuple(
        (name, tuple(f"{counts[column]:,}" for column in columns))
        for name, counts in classes.items()
    )
    shown = ("examples", "predicted by encoder", "by twin")
    return [facts.Table("classes of the development set", shown, rows)]


def _mistakes_heading(task: Finetuned) -> str:
    if task.are_questions:
        return "Answers that match no gold answer, the surest first"
    return "Most confident errors" if task.class_names else "Largest errors"


def _search(system: str, found: Selection) -> SearchTable:
    rows = tuple(
        TrialRow(
            ", ".join(f"{name} {value}" for name, value in facts.settings(trial.settings)),
            tuple(
                (facts.points(trial.scores.get(seed)), seed in trial.chosen_seeds)
                for seed in found.seeds
            ),
        )
        for trial in found.trials
    )
    return SearchTable(SYSTEM_NAMES[system], found.rule, found.seeds, rows)


def _settings(task: Finetuned, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the manifest says was used, else what params.yaml asks for."""
    used = {key: task.manifest[key] for key in _MANIFEST_SETTINGS if key in task.manifest}
    seeds = {f"median seed, {SYSTEM_NAMES[one]}": task.median_seeds[one] for one in SYSTEMS}
    return facts.settings({**(used if "settings" in used else {**used, **settings}), **seeds})
