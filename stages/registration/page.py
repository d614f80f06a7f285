"""The promotion page: the candidate beside the champion, with intervals, as one HTML file.

In: the record of a gate's decision. Out: a page that loads nothing and holds no script; texts go
through autoescape. A row of the plot places its marks in percent of its width, so that it fills a
phone and a wide screen alike.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.registration.comparison import SIDES

_TEMPLATE = "promotion.html.jinja"
_MINUS, _NOTHING = "\u2212", "\u2013"
_STEPS = (1, 2, 5, 10, 20, 50)
_TICKS = 6


@dataclass(frozen=True)
class Axis:
    """What the plots span, in points, and how far apart its ticks are."""

    low: int
    high: int
    step: int


@dataclass(frozen=True)
class Row:
    """One task, or the mean, as it is shown."""

    name: str
    detail: str
    is_counted: bool
    candidate: tuple[str, str]
    champion: tuple[str, str]
    difference: tuple[str, str]
    word: str
    lanes: tuple[Mapping[str, Any], ...]


def render(record: Mapping[str, Any]) -> str:
    """The page of one decision."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    axis = _axis(record)
    macro = record["macro"]
    rows = [_task_row(name, entry, axis) for name, entry in record["tasks"].items()]
    return environment.get_template(_TEMPLATE).render(
        record=record,
        macro=_row("Macro score", _over(macro), macro, axis) if macro else None,
        probability=f"{macro['probability']:.3f}" if macro else "",
        rows=rows,
        ticks=[(f"{_place(axis, tick):.2f}%", f"{tick:g}") for tick in _ticks(axis)],
        notes=_notes(record),
        versions=_versions(record),
    )


def _over(macro: Mapping[str, Any]) -> str:
    number = len(macro["tasks"])
    return f"mean of {number} tasks" if number > 1 else f"{macro['tasks'][0]} alone"


def _task_row(name: str, entry: Mapping[str, Any], axis: Axis) -> Row:
    detail = f"{entry['examples']:,} examples"
    if entry["mcnemar"]:
        detail += f" \u00b7 McNemar\u00a0p\u00a0=\u00a0{entry['mcnemar']['p_value']:.3g}"
    if not entry["is_counted"]:
        detail += " \u00b7 left out of the mean"
    return _row(name, detail, entry, axis)


def _row(name: str, detail: str, entry: Mapping[str, Any], axis: Axis) -> Row:
    shown = {side: (points(entry[side]["score"]), _range(entry[side])) for side in SIDES}
    return Row(
        name=name,
        detail=detail,
        is_counted=entry.get("is_counted", True),
        candidate=shown["candidate"],
        champion=shown["champion"],
        difference=(signed(entry["difference"]["score"]), _signed_range(entry["difference"])),
        word=_word(entry["difference"]["interval"]),
        lanes=tuple(_lane(side, entry[side], axis) for side in SIDES),
    )


def _word(interval: Sequence[float]) -> str:
    """What the interval of a difference allows to say of the candidate."""
    low, high = interval
    if low > 0:
        return "better"
    return "worse" if high < 0 else "not distinguishable"


def _lane(side: str, estimate: Mapping[str, Any], axis: Axis) -> dict[str, Any]:
    low, high = (100 * end for end in estimate["interval"])
    label = f"{side} {points(estimate['score'])}, 95 % interval {_range(estimate)}"
    return {
        "side": side,
        "low": f"{_place(axis, low):.2f}%",
        "high": f"{_place(axis, high):.2f}%",
        "score": f"{_place(axis, 100 * estimate['score']):.2f}%",
        "label": label,
    }


def _axis(record: Mapping[str, Any]) -> Axis:
    """Lowest and highest number of the plots, in points, both on a tick."""
    entries = [*record["tasks"].values(), *([record["macro"]] if record["macro"] else [])]
    ends = [100 * end for entry in entries for side in SIDES for end in entry[side]["interval"]]
    if not ends:
        return Axis(0, 100, 20)
    lowest, highest = min(ends), max(ends)
    step = next((one for one in _STEPS if (highest - lowest) / one <= _TICKS), _STEPS[-1])
    low, high = math.floor(lowest / step) * step, math.ceil(highest / step) * step
    return Axis(low, max(high, low + step), step)


def _ticks(axis: Axis) -> range:
    return range(axis.low, axis.high + 1, axis.step)


def _place(axis: Axis, value: float) -> float:
    return 100 * (value - axis.low) / (axis.high - axis.low)


def _notes(record: Mapping[str, Any]) -> list[str]:
    """What was not compared."""
    sides = (("only_candidate", "the candidate"), ("only_champion", "the champion"))
    return [
        f"Not compared, only {whose} has it: {', '.join(record[key])}."
        for key, whose in sides
        if record[key]
    ]


def _versions(record: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Registered name, and its version as candidate, as champion before and as champion now."""
    sets = [record[key] for key in ("candidate", "champion_before", "champion")]
    names = sorted(
        {name for one in sets for name in one}, key=lambda n: (n != record["encoder"], n)
    )
    shown = [[one.get(name, _NOTHING) for one in sets] for name in names]
    return [(name, *versions) for name, versions in zip(names, shown, strict=True)]  # type: ignore[misc]


def points(value: float) -> str:
    """A score times 100."""
    return f"{round(100 * value, 1) + 0.0:.1f}".replace("-", _MINUS)


def signed(value: float) -> str:
    """A difference of scores times 100, with its sign."""
    text = f"{100 * value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", _MINUS)


def _range(estimate: Mapping[str, Any]) -> str:
    return " to ".join(points(end) for end in estimate["interval"])


def _signed_range(estimate: Mapping[str, Any]) -> str:
    return " to ".join(signed(end) for end in estimate["interval"])
