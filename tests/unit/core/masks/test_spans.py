"""Spans by hand, against a literal loop, and where the runs of chosen positions begin and end."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.masks.spans import choose_spans, span_bounds, span_length_probabilities

T, F = True, False
ONE, TWO, THREE = 0.0, 0.6, 0.9  # draws that ask for so many words at a probability of 0.5 and 3


def spans(starts, candidates, budget, order, lengths, *, probability=0.5, max_words=3):
    """One row; a start is a word start."""
    chosen = choose_spans(
        np.array([starts]),
        np.array([candidates]),
        np.array([budget]),
        np.array([order]),
        np.array([lengths]),
        geometric_probability=probability,
        max_words=max_words,
    )
    return chosen[0].tolist()


def test_lengths_are_the_geometric_distribution_cut_and_renormalised():
    # 1/2, 1/4, 1/8 of 7/8
    assert span_length_probabilities(0.5, 3) == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert span_length_probabilities(0.9, 1).tolist() == [1.0]


def test_the_papers_mean_span_is_3_8_words():
    probabilities = span_length_probabilities(0.2, 10)
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities @ np.arange(1, 11) == pytest.approx(3.8, abs=0.005)


def test_a_draw_asks_for_as_many_words_as_the_distribution_says():
    """4/7 = 0.571 and 6/7 = 0.857 are the borders; the budget does not cut."""
    text = [F, T, T, T, T, F]
    for draw, words in [(0.0, 1), (0.57, 1), (0.572, 2), (0.856, 2), (0.858, 3), (0.999, 3)]:
        order = [0.9, 0.1, 0.9, 0.9, 0.9, 0.0]
        chosen = spans(text, text, words, order, [draw] * 6)
        assert chosen == [F, *([T] * words), *([F] * (4 - words)), F]


def test_starts_are_tried_in_the_order_of_their_draws():
    text = [F, T, T, T, T, T, F]
    order = [0.0, 0.2, 0.5, 0.9, 0.1, 0.6, 0.0]
    chosen = spans(text, text, 3, order, [0, ONE, 0, 0, TWO, 0, 0])
    # Two words from column 4, then one from column 1.
    assert chosen == [F, T, F, F, T, T, F]


def test_a_span_ends_with_its_segment():
    #       CLS a b SEP c d SEP
    text = [F, T, T, F, T, T, F]
    order = [0.0, 0.9, 0.1, 0.0, 0.2, 0.8, 0.0]
    chosen = spans(text, text, 2, order, [0, 0, THREE, 0, ONE, 0, 0])
    assert chosen == [F, F, T, F, T, F, F]


def test_a_span_takes_whole_words():
    #        CLS aa  b  ccc  SEP
    text = [F, T, T, T, T, T, T, F]
    starts = [F, T, F, T, T, F, F, F]
    order = [0.0, 0.9, 0.0, 0.1, 0.8, 0.0, 0.0, 0.0]
    chosen = spans(starts, text, 4, order, [TWO] * 8)
    assert chosen == [F, F, F, T, T, T, T, F]


def test_a_word_that_would_overflow_ends_the_span_and_shorter_ones_are_tried():
    #        CLS a  bbb  c  SEP
    text = [F, T, T, T, T, T, F]
    starts = [F, T, T, F, F, T, F]
    order = [0.0, 0.1, 0.2, 0.0, 0.0, 0.3, 0.0]
    chosen = spans(starts, text, 3, order, [THREE] * 7)
    # From a, bbb does not fit into 2; bbb as a start neither; c does.
    assert chosen == [F, T, F, F, F, T, F]


def test_words_already_masked_cost_nothing():
    text = [F, T, T, T, T, F]
    order = [0.0, 0.9, 0.2, 0.1, 0.8, 0.0]
    chosen = spans(text, text, 3, order, [0, 0, THREE, ONE, 0, 0])
    # Column 3 first; then three words from column 2, one of them paid already.
    assert chosen == [F, F, T, T, T, F]


def test_a_start_that_is_masked_already_is_passed_over():
    text = [F, T, T, T, T, F]
    order = [0.0, 0.1, 0.2, 0.9, 0.3, 0.0]
    chosen = spans(text, text, 3, order, [0, TWO, THREE, 0, ONE, 0])
    assert chosen == [F, T, T, F, T, F]


@pytest.mark.parametrize(("budget", "text"), [(0, [F, T, T, F]), (3, [F, F, F, F])])
def test_without_budget_or_candidates_nothing_is_chosen(budget, text):
    assert spans(text, text, budget, [0.1] * 4, [ONE] * 4) == [F] * 4


@given(
    st.integers(0, 2**31),
    st.integers(3, 30),
    st.integers(0, 20),
    st.integers(1, 6),
    st.sampled_from([0.1, 0.2, 0.6]),
)
def test_spans_equal_a_literal_loop(seed, width, budget, max_words, probability):
    generator = np.random.default_rng(seed)
    candidates = generator.random((5, width)) < 0.85
    candidates[:, [0, -1]] = False
    before = np.zeros_like(candidates)
    before[:, 1:] = candidates[:, :-1]
    # The first token of a segment begins a word.
    starts = candidates & (~before | (generator.random((5, width)) < 0.6))
    order, lengths = generator.random((2, 5, width))
    budgets = np.full(5, budget)
    chosen = choose_spans(
        starts,
        candidates,
        budgets,
        order,
        lengths,
        geometric_probability=probability,
        max_words=max_words,
    )
    for row in range(5):
        expected = literal_spans(
            starts[row], candidates[row], budget, order[row], lengths[row], probability, max_words
        )
        assert np.flatnonzero(chosen[row]).tolist() == sorted(expected)


def literal_spans(starts, candidates, budget, order, lengths, probability, max_words):
    """Section 3.1 of Joshi et al. 2020, word by word."""
    masked: set[int] = set()
    for start in sorted(np.flatnonzero(starts).tolist(), key=lambda column: order[column]):
        if start in masked:
            continue
        words = number_of_words(lengths[start], probability, max_words)
        column = start
        for _ in range(words):
            if column >= len(starts) or not candidates[column]:
                break
            stop = column + 1
            while stop < len(starts) and candidates[stop] and not starts[stop]:
                stop += 1
            new = set(range(column, stop)) - masked
            if len(masked) + len(new) > budget:
                break
            masked |= new
            column = stop
    return masked


def number_of_words(draw, probability, max_words):
    weights = [probability * (1 - probability) ** n for n in range(max_words)]
    words, reached = 1, weights[0] / sum(weights)
    while words < max_words and draw >= reached:
        reached += weights[words] / sum(weights)
        words += 1
    return words


def test_bounds_are_those_of_the_run_around_each_chosen_position():
    chosen = np.array([[F, T, T, F, T, F], [F, F, F, T, T, F]])
    first, last = span_bounds(chosen)
    assert first.tolist() == [1, 1, 4, 9, 9]
    assert last.tolist() == [2, 2, 4, 10, 10]


def test_a_run_never_goes_on_in_the_next_row():
    first, last = span_bounds(np.array([[F, F, T], [T, F, F]]))
    assert (first.tolist(), last.tolist()) == ([2, 3], [2, 3])


@pytest.mark.parametrize("shape", [(0, 4), (2, 4)])
def test_nothing_chosen_has_no_bounds(shape):
    first, last = span_bounds(np.zeros(shape, dtype=bool))
    assert (len(first), len(last)) == (0, 0)


@given(st.integers(0, 2**31), st.integers(1, 12))
def test_bounds_equal_a_literal_walk(seed, width):
    chosen = np.random.default_rng(seed).random((4, width)) < 0.6
    first, last = span_bounds(chosen)
    expected = []
    for row, column in np.argwhere(chosen).tolist():
        low = high = column
        while low > 0 and chosen[row, low - 1]:
            low -= 1
        while high < width - 1 and chosen[row, high + 1]:
            high += 1
        expected.append((row * width + low, row * width + high))
    assert list(zip(first.tolist(), last.tolist(), strict=True)) == expected
