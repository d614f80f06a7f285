"""Measurements as rows: ratios of two sides that alternate in one process, and values with a limit.

A machine's speed drifts; the ratio of two measurements next to each other does not. A ratio keeps
the median of its rounds with its quartiles, and both sides' medians in a unit that a person knows.
What has no other side (seconds, GB, shares) keeps its own median, which should be small.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Result:
    """One row of the report."""

    name: str
    a: float | None
    """What a user would pick instead; None where there is nothing."""
    b: float
    """Cloze."""
    unit: str
    ratio: float
    """How many times better b is; of a limit, what share of the target b is."""
    quartiles: tuple[float, float]
    """Of the ratio; of a limit, of b."""
    rounds: int
    target: float
    """The least ratio; of a limit, the most that b may be."""
    stretch: float | None = None
    is_limit: bool = False
    note: str = ""
    """What limits it, said where a target is missed."""

    @property
    def verdict(self) -> str:
        """Whether the target was reached."""
        if self.stretch is not None and self._reaches(self.stretch):
            return "stretch reached"
        return "reached" if self._reaches(self.target) else "missed"

    def _reaches(self, level: float) -> bool:
        return self.b <= level if self.is_limit else self.ratio >= level

    def described(self) -> dict[str, Any]:
        """The row as JSON."""
        return {**asdict(self), "verdict": self.verdict}


def compare(
    name: str,
    pairs: list[tuple[float, float]],
    *,
    unit: str,
    target: float,
    stretch: float | None = None,
    note: str = "",
) -> Result:
    """The result of rounds of (a, b), where more of the unit is better."""
    ratios = [b / a for a, b in pairs]
    return Result(
        name=name,
        a=statistics.median(a for a, _ in pairs),
        b=statistics.median(b for _, b in pairs),
        unit=unit,
        ratio=statistics.median(ratios),
        quartiles=_quartiles(ratios),
        rounds=len(pairs),
        target=target,
        stretch=stretch,
        note=note,
    )


def limit(
    name: str,
    values: Sequence[float],
    *,
    unit: str,
    target: float,
    stretch: float | None = None,
    note: str = "",
) -> Result:
    """The result of rounds of one value, where less of the unit is better."""
    value = statistics.median(values)
    return Result(
        name=name,
        a=None,
        b=value,
        unit=unit,
        ratio=value / target,
        quartiles=_quartiles(values),
        rounds=len(values),
        target=target,
        stretch=stretch,
        is_limit=True,
        note=note,
    )


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def alternate(
    first: Callable[[], float], second: Callable[[], float], rounds: int
) -> list[tuple[float, float]]:
    """Measure both sides `rounds` times after one round unmeasured, each leading in turn."""
    first(), second()
    pairs = []
    for number in range(rounds):
        if number % 2:
            b, a = second(), first()
        else:
            a, b = first(), second()
        pairs.append((a, b))
    return pairs
