"""Which positions are masked: whole units (tokens or words) in random order up to a budget.

Source: create_masked_lm_predictions of google-research/bert. A unit that would overflow the budget
is skipped and a later, shorter one may still fit.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray


def prediction_budget(
    lengths: Int64[ndarray, "B"], *, mlm_probability: float, max_predictions: int
) -> Int64[ndarray, "B"]:
    """Masked positions per sequence: min(max_predictions, max(1, round(length * probability))).

    `lengths` counts special tokens, as the original does.
    """
    wanted = np.rint(lengths * mlm_probability).astype(np.int64)
    return np.minimum(max_predictions, np.maximum(1, wanted))


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
    at its first one. Cost: one sort of (B, S) and as many (B)-wide steps as units are tried.
    """
    rows = np.arange(len(budget))[:, None]
    start_column = np.where(unit_starts & candidates, np.arange(unit_starts.shape[1]), -1)
    start_column = np.maximum.accumulate(start_column, axis=1)
    key = np.where(candidates & (start_column >= 0), draws[rows, start_column], np.inf)
    order = np.argsort(key, axis=1, kind="stable")
    is_first = (unit_starts & candidates)[rows, order]
    unit = np.maximum(np.cumsum(is_first, axis=1) - 1, 0)
    is_candidate = np.isfinite(key)[rows, order]
    sizes = np.zeros_like(unit)
    np.add.at(sizes, (np.broadcast_to(rows, unit.shape), unit), is_candidate.astype(unit.dtype))
    accepted = _accept_in_order(sizes, budget, num_units=int(is_first.sum(axis=1).max(initial=0)))
    chosen = np.zeros_like(candidates)
    chosen[rows, order] = accepted[rows, unit] & is_candidate
    return chosen


def _accept_in_order(
    sizes: Int64[ndarray, "B S"], budget: Int64[ndarray, "B"], num_units: int
) -> Bool[ndarray, "B S"]:
    """Take units from left to right, skipping each that would overflow the row's budget."""
    accepted = np.zeros(sizes.shape, dtype=bool)
    left = budget.copy()
    for unit in range(num_units):
        fits = sizes[:, unit] <= left
        accepted[:, unit] = fits
        left -= np.where(fits, sizes[:, unit], 0)
        if not left.any():
            break
    return accepted
