"""Which positions are masked: whole units (tokens or words) in random order up to a budget.

Source: create_masked_lm_predictions of google-research/bert. A unit that would overflow the budget
is skipped and a later, shorter one may still fit.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt64
from numpy import ndarray

from stages.core.random import unit_interval

_NEVER = np.uint32(0xFFFFFFFF)


def prediction_budget(
    lengths: Int64[ndarray, "B"], *, mlm_probability: float, max_predictions: int
) -> Int64[ndarray, "B"]:
    """Masked positions per sequence: min(max_predictions, max(1, round(length * probability))).

    `lengths` counts special tokens, as the original does.
    """
    wanted = np.rint(lengths * mlm_probability).astype(np.int64)
    return np.minimum(max_predictions, np.maximum(1, wanted))


def choose_tokens(
    excluded: Bool[ndarray, "B S"], budget: Int64[ndarray, "B"], bits: UInt64[ndarray, "B S"]
) -> Bool[ndarray, "B S"]:
    """Choose as many tokens as the budget, or all that are not excluded: the lowest draws of a row.

    What `choose_units` chooses with every token a unit and `unit_interval(bits)`. Sorted are the
    upper 32 bits alone, whose value behind the budget parts a row's tokens; where it stands before
    that place too, the row is left to `choose_units`. Cost: one sort of (B, S) 32-bit values.
    """
    width, rows = bits.shape[1], np.arange(len(bits))
    draws = (bits >> np.uint64(32)).astype(np.uint32)
    draws[excluded] = _NEVER
    ordered = np.sort(draws, axis=1)
    threshold = ordered[rows, np.minimum(budget, width - 1)]
    chosen = draws < threshold[:, None]
    # A budget of 0 looks at the last draw, which is no tie with the first.
    tied = np.flatnonzero(ordered[rows, np.minimum(budget, width) - 1] == threshold)
    if len(tied):
        units = ~excluded[tied]
        chosen[tied] = choose_units(units, units, budget[tied], unit_interval(bits[tied]))
    return chosen


def choose_units(
    unit_starts: Bool[ndarray, "B S"],
    candidates: Bool[ndarray, "B S"],
    budget: Int64[ndarray, "B"],
    draws: Float64[ndarray, "B S"],
) -> Bool[ndarray, "B S"]:
    """Choose whole units of the candidates in random order, never more than the budget.

    A unit is a candidate marked in `unit_starts` and the candidates behind it up to the next
    start; mark every candidate for single tokens, word starts for whole words. `draws` in [0, 1)
    orders the units (a unit takes the draw at its start). Every row with a candidate has a start
    at its first one. Cost: one argsort of (B, S) and as many (B)-wide steps as units are tried.
    """
    place = np.flatnonzero(candidates)
    is_start = unit_starts.reshape(-1)[place]
    starts = place[is_start]
    size = np.diff(np.flatnonzero(is_start), append=len(place))
    sizes = np.zeros(candidates.shape, dtype=np.int64)
    sizes.reshape(-1)[starts] = size
    accepted = _accept_in_order(sizes, draw_order(sizes > 0, draws), budget)
    chosen = np.zeros(candidates.shape, dtype=bool)
    chosen.reshape(-1)[place] = np.repeat(accepted.reshape(-1)[starts], size)
    return chosen


def draw_order(
    starts: Bool[ndarray, "B S"], draws: Float64[ndarray, "B S"]
) -> Int64[ndarray, "B S"]:
    """The columns of each row: those that are starts by their draws, then all others.

    Equal draws stand from left to right, as a stable sort has them; rows with such are so rare that
    the others pay but for a faster sort and a look at its result.
    """
    behind = 1.0 + np.arange(starts.shape[1])  # above all draws, and no two alike
    key = np.where(starts, draws, behind)
    order = np.argsort(key, axis=1)
    ordered = np.take_along_axis(key, order, axis=1)
    tied = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
    order[tied] = np.argsort(key[tied], axis=1, kind="stable")
    return order


def _accept_in_order(
    sizes: Int64[ndarray, "B S"], order: Int64[ndarray, "B S"], budget: Int64[ndarray, "B"]
) -> Bool[ndarray, "B S"]:
    """Take the units of each row in order, skipping each that would overflow the row's budget."""
    accepted = np.zeros(sizes.shape, dtype=bool)
    left = budget.copy()
    active = np.flatnonzero(left > 0)
    for attempt in range(sizes.shape[1]):
        if not len(active):
            break
        column = order[active, attempt]
        size = sizes[active, column]
        fits = size <= left[active]
        accepted[active, column] = fits
        left[active] -= np.where(fits, size, 0)
        active = active[(size > 0) & (left[active] > 0)]  # no size: the row's units are over
    return accepted
