"""Paired measurements: both sides alternate in one process, and only their ratios are compared.

A machine's speed drifts; the ratio of two measurements next to each other does not. A result keeps
the median ratio with its quartiles, and both sides' medians in a unit that a person knows.
"""

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """One row of the report."""

    name: str
    a: float
    """What a user would pick instead."""
    b: float
    """Cloze."""
    unit: str
    ratio: float
    """How many times better b is."""
    quartiles: tuple[float, float]
    rounds: int
    target: float
    stretch: float | None = None
    note: str = ""
    """What limits it, said where a target is missed."""

    def described(self) -> dict[str, Any]:
        """The row as JSON."""
        return asdict(self)


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
    ratios = sorted(b / a for a, b in pairs)
    quarters = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    return Result(
        name=name,
        a=statistics.median(a for a, _ in pairs),
        b=statistics.median(b for _, b in pairs),
        unit=unit,
        ratio=statistics.median(ratios),
        quartiles=(quarters[0], quarters[2]),
        rounds=len(pairs),
        target=target,
        stretch=stretch,
        note=note,
    )


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
