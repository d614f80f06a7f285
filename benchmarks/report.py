"""The results as lines on the terminal and as the page docs/results/performance.md."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.paired import Result

_HEADER = """# Performance

Measured by `make bench`. A target that is missed says so; in brackets is what would be better
still. Anything on a GPU is not measured here.
"""

_RATIOS = """## Against what a user would pick instead

Both sides alternate in one process on the same threads, the ratio of each round is taken, and the
median of the ratios is the result. Baselines have the allocator tuned as ours has. Rows of text,
masks and instances run on one core.

| work | against (median) | Cloze (median) | unit | ratio | quartiles | rounds | target | |
|---|---|---|---|---|---|---|---|---|
"""

_LIMITS = """## What should stay small

The project's own commands in a user's environment, nothing tuned; medians.

| what | Cloze | quartiles | unit | rounds | at most | |
|---|---|---|---|---|---|---|
"""


def shown(results: Iterable[Result]) -> list[Result]:
    """Print each result as a line when it is there; returns them."""
    kept = []
    for one in results:
        sys.stdout.write(_line(one) + "\n")
        sys.stdout.flush()
        kept.append(one)
    return kept


def page(results: Sequence[Result], conditions: Mapping[str, Any]) -> str:
    """The page in markdown."""
    ratios = [_ratio_row(one) for one in results if not one.is_limit]
    limits = [_limit_row(one) for one in results if one.is_limit]
    misses = [
        f"- {one.name}: {one.note}." for one in results if one.verdict == "missed" and one.note
    ]
    facts = [f"- {name}: {value}" for name, value in conditions.items()]
    parts = [_HEADER, _RATIOS + "\n".join(ratios), _LIMITS + "\n".join(limits)]
    parts += _section("What limits the missed ones", misses) + _section("Conditions", facts)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "\n".join(lines)] if lines else []


def _line(one: Result) -> str:
    levels = f"{'at most' if one.is_limit else 'target'} {_levels(one)}: {one.verdict}"
    if one.is_limit:
        return f"{one.name}: {_short(one.b)} {one.unit}{_spread(one)}, {levels}"
    sides = f"{_short(one.a)} against {_short(one.b)} {one.unit}"
    return f"{one.name}: {one.ratio:.2f}{_spread(one)}, {levels}; {sides}"


def _spread(one: Result) -> str:
    low, high = (_short(value) for value in one.quartiles)
    return f" ({low}-{high})" if one.rounds > 1 else ""


def _ratio_row(one: Result) -> str:
    return (
        f"| {one.name} | {_short(one.a)} | {_short(one.b)} | {one.unit} | **{one.ratio:.2f}** "
        f"| {one.quartiles[0]:.2f}-{one.quartiles[1]:.2f} | {one.rounds} | {_levels(one)} "
        f"| {one.verdict} |"
    )


def _limit_row(one: Result) -> str:
    low, high = (_short(value) for value in one.quartiles)
    quartiles = f"{low}-{high}" if one.rounds > 1 else ""
    return (
        f"| {one.name} | **{_short(one.b)}** | {quartiles} | {one.unit} | {one.rounds} "
        f"| {_levels(one)} | {one.verdict} |"
    )


def _levels(one: Result) -> str:
    return f"{one.target:g}" + (f" ({one.stretch:g})" if one.stretch is not None else "")


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:,.3g}"
