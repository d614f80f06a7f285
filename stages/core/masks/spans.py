"""SpanBERT's masks: spans of whole words, their lengths geometric, up to a budget of tokens.

Source: Joshi et al. 2020, section 3.1. Rows advance together, one attempt each a step: the loop is
over attempts, not over rows. Of the original this keeps that a span may run into masked words
(they cost nothing) and differs in that the last span ends at a whole word.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray


def span_length_probabilities(
    geometric_probability: float, max_words: int
) -> Float64[ndarray, "max_words"]:
    """Probabilities of 1 .. max_words words: the geometric distribution, cut and renormalised."""
    words = np.arange(max_words)
    raw = geometric_probability * (1 - geometric_probability) ** words
    return np.asarray(raw / raw.sum())


def choose_spans(
    word_starts: Bool[ndarray, "B S"],
    candidates: Bool[ndarray, "B S"],
    budget: Int64[ndarray, "B"],
    order_draws: Float64[ndarray, "B S"],
    length_draws: Float64[ndarray, "B S"],
    *,
    geometric_probability: float,
    max_words: int,
) -> Bool[ndarray, "B S"]:
    """Choose spans of whole words among the candidates, never more tokens than the budget.

    Word starts are tried in the order of `order_draws`, those already masked passed over, which is
    a uniform draw over what is left; `length_draws` in [0, 1) at a start gives its span's words. A
    span ends at the end of its segment, and before a word that would overflow the budget.
    """
    num_rows, width = candidates.shape
    ends = np.cumsum(span_length_probabilities(geometric_probability, max_words))
    wanted = 1 + np.searchsorted(ends[:-1], length_draws, side="right")
    starts = word_starts & candidates
    order = np.argsort(np.where(starts, order_draws, np.inf), axis=1, kind="stable")
    num_starts = starts.sum(axis=1)
    stops = _word_stops(starts, candidates, max_words)
    chosen = np.zeros_like(candidates)
    left = np.where(num_starts > 0, budget, 0)
    columns = np.arange(width)
    for attempt in range(int(num_starts.max(initial=0))):
        active = np.flatnonzero((left > 0) & (attempt < num_starts))
        if not len(active):
            break
        start = order[active, attempt]
        is_free = ~chosen[active, start]
        active, start = active[is_free], start[is_free]
        # What the first n words of the span would newly mask, for every n up to max_words.
        unmasked = np.zeros((len(active), width + 1), dtype=np.int64)
        np.cumsum(~chosen[active], axis=1, out=unmasked[:, 1:])
        rows = np.arange(len(active))
        stop = stops[:, active, start]
        cost = unmasked[rows, stop] - unmasked[rows, start]
        is_within = np.arange(max_words)[:, None] < wanted[active, start]
        fits = (cost <= left[active]) & is_within
        taken = fits.sum(axis=0)  # costs rise with n, so what fits comes first
        last = np.where(taken > 0, stop[np.maximum(taken - 1, 0), rows], start)
        is_new = (columns >= start[:, None]) & (columns < last[:, None])
        left[active] -= np.where(taken > 0, cost[np.maximum(taken - 1, 0), rows], 0)
        chosen[active] |= is_new
    assert chosen.shape == (num_rows, width)
    return chosen


def _word_stops(
    starts: Bool[ndarray, "B S"], candidates: Bool[ndarray, "B S"], max_words: int
) -> Int64[ndarray, "max_words B S"]:
    """Where the n-th word from each column on ends (exclusive), within the run of candidates."""
    width = starts.shape[1]
    column = np.broadcast_to(np.arange(width), starts.shape)
    # The next column behind each that begins a word or is no candidate; the row's end otherwise.
    is_border = starts | ~candidates
    behind = np.full(starts.shape, width, dtype=np.int64)
    behind[:, :-1] = np.where(is_border, column, width)[:, 1:]
    following = np.minimum.accumulate(behind[:, ::-1], axis=1)[:, ::-1]
    padded = np.concatenate(
        [np.where(candidates, following, column), np.full((len(starts), 1), width)], axis=1
    )
    stops = np.empty((max_words, *starts.shape), dtype=np.int64)
    stops[0] = padded[:, :-1]
    for number in range(1, max_words):
        stops[number] = np.take_along_axis(padded, stops[number - 1], axis=1)
    return stops


def span_bounds(
    chosen: Bool[ndarray, "B S"],
) -> tuple[Int64[ndarray, "M"], Int64[ndarray, "M"]]:
    """First and last flat position of the run that each chosen position lies in, row by row.

    A run never crosses a row: the first and the last column of a sequence are special.
    """
    flat = np.zeros((len(chosen), chosen.shape[1] + 1), dtype=bool)
    flat[:, :-1] = chosen  # a border behind each row
    width = chosen.shape[1]
    place = np.flatnonzero(flat)
    begins = np.ones(len(place), dtype=bool)
    begins[1:] = np.diff(place) > 1
    run = np.cumsum(begins) - 1
    first = place[begins]
    is_end = np.append(begins[1:], True)[: len(place)]
    last = place[is_end]
    rows_first, rows_last = first[run], last[run]
    return rows_first - rows_first // (width + 1), rows_last - rows_last // (width + 1)
