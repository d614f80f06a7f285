"""McNemar's exact test: whether two classifiers of the same examples differ in accuracy.

Only examples that exactly one of the two gets right say anything. If both were equally good, each
of these would fall to either side like a fair coin. Source: McNemar 1947; the exact form, without
the chi-square approximation: Dietterich 1998, section 3.1.
"""

import math
from dataclasses import dataclass

from jaxtyping import Real
from numpy import ndarray


@dataclass(frozen=True)
class McNemar:
    """Examples that only one of the two gets right, and how probable so uneven a split is."""

    only_first: int
    only_second: int
    p_value: float
    """Two-sided, in 0..1."""


def mcnemar(
    labels: Real[ndarray, "N"], first: Real[ndarray, "N"], second: Real[ndarray, "N"]
) -> McNemar:
    """Hold two models' predicted classes for the same examples against each other."""
    first_right, second_right = first == labels, second == labels
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    return McNemar(only_first, only_second, _two_sided(only_first, only_second))


def _two_sided(heads: int, tails: int) -> float:
    """Probability that a fair coin, tossed as often, lands at least as unevenly."""
    tosses, fewer = heads + tails, min(heads, tails)
    log_half = tosses * math.log(0.5)
    terms = (
        math.lgamma(tosses + 1) - math.lgamma(k + 1) - math.lgamma(tosses - k + 1) + log_half
        for k in range(fewer + 1)
    )
    return min(1.0, 2 * math.fsum(math.exp(term) for term in terms))
