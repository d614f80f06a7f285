"""Which of a split's examples are learnt where a task may use so many."""

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from stages.core.random import Draws


def drawn_subset(size: int, limit: int, draws: Draws) -> Int64[ndarray, "K"]:
    """The numbers of `limit` of `size` examples, drawn at random, ascending."""
    return np.sort(np.argsort(draws.bits(np.arange(size)), kind="stable")[:limit])
