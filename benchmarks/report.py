"""The results as lines on the terminal and as the page docs/results/performance.md."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.paired import Result

_HEADER = """# Performance

Measured by `make bench`: both sides alternate in one process on the same threads, the ratio of each
round is taken, and the median of the ratios is the result. Baselines have the allocator tuned as
ours has. A target that is missed says so.

| work | against (median) | Cloze (median) | unit | ratio | quartiles | rounds | target | |
|---|---|---|---|---|---|---|---|---|
"""

_MISSING = """Not measured yet: instances with next sentences, peak memory over 180 and 720 MB, an
unchanged `dvc repro`, what surrounds the stages' own work, and anything on a GPU."""


def shown(results: Iterable[Result]) -> list[Result]:
    """Print each result as a line; returns them."""
    kept = list(results)
    for one in kept:
        low, high = one.quartiles
        sys.stdout.write(
            f"{one.name}: {one.ratio:.2f} ({low:.2f}-{high:.2f}), target {one.target:g}: "
            f"{verdict(one)}; {one.a:,.3g} against {one.b:,.3g} {one.unit}\n"
        )
        sys.stdout.flush()
    return kept


def verdict(result: Result) -> str:
    """Whether the target was reached."""
    if result.stretch and result.ratio >= result.stretch:
        return "stretch reached"
    return "reached" if result.ratio >= result.target else "missed"


def page(results: Sequence[Result], conditions: Mapping[str, Any]) -> str:
    """The page in markdown."""
    rows = [
        f"| {one.name} | {one.a:,.3g} | {one.b:,.3g} | {one.unit} | **{one.ratio:.2f}** "
        f"| {one.quartiles[0]:.2f}-{one.quartiles[1]:.2f} | {one.rounds} | {one.target:g}"
        f"{f' ({one.stretch:g})' if one.stretch else ''} | {verdict(one)} |"
        for one in results
    ]
    misses = [
        f"- {one.name}: {one.note}." for one in results if verdict(one) == "missed" and one.note
    ]
    facts = [f"- {name}: {value}" for name, value in conditions.items()]
    parts = ["\n".join(rows), _MISSING, "## What limits the missed ones", "\n".join(misses)]
    return _HEADER + "\n\n".join([*parts, "## Conditions", "\n".join(facts)]) + "\n"
