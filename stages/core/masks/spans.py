"""SpanBERT's masks: spans of whole words, their lengths geometric, up to a budget of tokens.

Source: Joshi et al. 2020, section 3.1. Rows advance together, one attempt each a step: the loop is
over attempts, not over rows. Of the original this keeps that a span may run into masked words
(they cost nothing) and differs in that the last span ends at a whole word.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from stages.core.masks.words import draw_order


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
    ends = np.cumsum(span_length_probabilities(geometric_probability, max_words))
    starts = word_starts & candidates
    num_starts = starts.sum(axis=1)
    order = draw_order(starts, order_draws)
    word_ends = _word_ends(starts, candidates)
    chosen = np.zeros_like(candidates)
    left = np.where(num_starts > 0, budget, 0)
    columns = np.arange(candidates.shape[1])
    for attempt in range(int(num_starts.max(initial=0))):
        active = np.flatnonzero((left > 0) & (attempt < num_starts))
        if not len(active):
            break
        start = order[active, attempt]
        is_free = ~chosen[active, start]
        active, start = active[is_free], start[is_free]
        wanted = 1 + np.searchsorted(ends[:-1], length_draws[active, start], side="right")
        stop = _span_stops(word_ends, active, start, max_words)
        # What the first n words of the span would newly mask, for every n up to max_words.
        unmasked = np.zeros((len(active), len(columns) + 1), dtype=np.int64)
        np.cumsum(~chosen[active], axis=1, out=unmasked[:, 1:])
        rows = np.arange(len(active))
        cost = unmasked[rows, stop] - unmasked[rows, start]
        fits = (cost <= left[active]) & (np.arange(max_words)[:, None] < wanted)
        taken = fits.sum(axis=0)  # costs rise with n, so what fits comes first
        longest = np.maximum(taken - 1, 0)
        last = np.where(taken > 0, stop[longest, rows], start)
        left[active] -= np.where(taken > 0, cost[longest, rows], 0)
        chosen[active] |= (columns >= start[:, None]) & (columns < last[:, None])
    return chosen


def _word_ends(
    starts: Bool[ndarray, "B S"], candidates: Bool[ndarray, "B S"]
) -> Int64[ndarray, "B S_1"]:
    """Where the word that each column lies in ends (exclusive); a column of no word ends itself.

    The column behind the row is there too, so that every end may be looked up again.
    """
    width = starts.shape[1]
    column = np.arange(width + 1)
    is_border = np.ones((len(starts), width + 1), dtype=bool)
    is_border[:, :-1] = starts | ~candidates
    ends = np.where(is_border, column, width)
    ends = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    ends[:, :-1] = np.where(candidates, ends[:, 1:], column[:-1])
    return ends


def _span_stops(
    word_ends: Int64[ndarray, "B S_1"],
    rows: Int64[ndarray, "R"],
    start: Int64[ndarray, "R"],
    max_words: int,
) -> Int64[ndarray, "max_words R"]:
    """Where the n-th word from each start on ends (exclusive), within the run of candidates."""
    stops = np.empty((max_words, len(rows)), dtype=np.int64)
    for number in range(max_words):
        start = stops[number] = word_ends[rows, start]
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
