"""Runs of consecutive numbers, many at once: how flat arrays of ragged things are addressed."""

import numpy as np
from jaxtyping import Int64
from numpy import ndarray


def ranges(starts: Int64[ndarray, "n"], lengths: Int64[ndarray, "n"]) -> Int64[ndarray, "total"]:
    """The numbers of the ranges from each start on, one range behind the other."""
    begins = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) + np.repeat(starts - begins, lengths)


def numbers_within(lengths: Int64[ndarray, "n"]) -> Int64[ndarray, "total"]:
    """0, 1, 2 and so on within each of the things that are so long."""
    return ranges(np.zeros_like(lengths), lengths)
