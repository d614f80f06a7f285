"""Choosing masked positions: budgets, whole words, and the skipping of what overflows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.core.masks.words import choose_tokens, choose_units, draw_order, prediction_budget
from stages.core.random import unit_interval


def test_the_budget_is_the_papers():
    lengths = np.array([3, 10, 20, 128, 512])
    budget = prediction_budget(lengths, mlm_probability=0.15, max_predictions=20)
    # max(1, round(0.15 n)), ties to even: 0.45 -> 1, 1.5 -> 2, 3, 19.2 -> 19, 76.8 -> 20 at most
    assert budget.tolist() == [1, 2, 3, 19, 20]


def test_units_are_taken_in_the_order_of_their_draws():
    candidates = np.array([[False, True, True, True, True, False]])
    draws = np.array([[0.0, 0.4, 0.1, 0.3, 0.2, 0.0]])
    chosen = choose_units(candidates, candidates, np.array([2]), draws)
    assert chosen.tolist() == [[False, False, True, False, True, False]]


def test_a_word_that_would_overflow_is_skipped_and_a_shorter_one_taken():
    #             CLS  word of 3          word of 1  word of 2    SEP
    candidates = np.array([[False, True, True, True, True, True, True, False]])
    starts = np.array([[False, True, False, False, True, True, False, False]])
    draws = np.array([[0.0, 0.1, 0.9, 0.9, 0.2, 0.3, 0.9, 0.0]])
    chosen = choose_units(starts, candidates, np.array([2]), draws)
    # The first in order (3 tokens) does not fit into 2; the single one does; then 2 do not.
    assert chosen.tolist() == [[False, False, False, False, True, False, False, False]]


def test_a_row_without_candidates_has_nothing_chosen():
    nothing = np.zeros((1, 4), dtype=bool)
    assert not choose_units(nothing, nothing, np.array([1]), np.zeros((1, 4))).any()


@given(st.integers(0, 2**31), st.integers(2, 24), st.integers(1, 24), st.booleans())
def test_any_choice_keeps_words_whole_and_budgets_and_equals_a_literal_loop(
    seed, width, budget, is_whole_word
):
    generator = np.random.default_rng(seed)
    candidates = generator.random((4, width)) < 0.8
    starts = candidates & (generator.random((4, width)) < 0.5)
    first = candidates.argmax(axis=1)
    starts[np.arange(4), first] |= candidates[np.arange(4), first]
    if not is_whole_word:
        starts = candidates.copy()
    draws = generator.random((4, width))
    chosen = choose_units(starts, candidates, np.full(4, budget), draws)
    for row in range(4):
        words = _words(starts[row], candidates[row])
        expected: set[int] = set()
        for word in sorted(words, key=lambda word: draws[row, word[0]]):
            if len(expected) >= budget:
                break
            if len(expected) + len(word) <= budget:
                expected |= set(word)
        assert set(np.flatnonzero(chosen[row]).tolist()) == expected


def test_tokens_are_the_lowest_draws_that_are_not_excluded():
    bits = np.array([[0, 4, 1, 3, 2, 0], [9, 8, 7, 6, 5, 4]], dtype=np.uint64) << np.uint64(40)
    excluded = np.array([[True, False, False, False, False, True], [False] * 6])
    for budgets, columns in [
        ((2, 1), ([2, 4], [5])),
        ((0, 0), ([], [])),
        ((4, 6), ([1, 2, 3, 4], [0, 1, 2, 3, 4, 5])),
        ((6, 9), ([1, 2, 3, 4], [0, 1, 2, 3, 4, 5])),
    ]:
        chosen = choose_tokens(excluded, np.array(budgets), bits)
        assert [np.flatnonzero(row).tolist() for row in chosen] == list(columns)


@given(
    st.integers(0, 2**31),
    st.integers(1, 24),
    st.sampled_from([2, 5, 2**40]),
    st.sampled_from([11, 32, 43]),
    st.booleans(),
)
def test_tokens_are_chosen_as_units_of_one_are_whatever_draws_are_tied(
    seed, width, different, shift, is_high
):
    """Few different draws, in the upper bits, below those that are sorted, and at their top."""
    generator = np.random.default_rng(seed)
    high = np.uint64(2**64 - 2**32 if is_high else 0)
    bits = generator.integers(0, different, (6, width), dtype=np.uint64) << np.uint64(shift) | high
    candidates = generator.random((6, width)) < 0.8
    budget = generator.integers(0, width + 2, 6)
    expected = choose_units(candidates, candidates, budget, unit_interval(bits))
    assert np.array_equal(choose_tokens(~candidates, budget, bits), expected)


def test_starts_come_in_the_order_of_their_draws_and_ties_from_left_to_right():
    starts = np.array([[True, False, True, True], [True, True, True, True]])
    draws = np.array([[0.5, 0.0, 0.9, 0.1], [0.5, 0.2, 0.5, 0.2]])
    assert draw_order(starts, draws).tolist() == [[3, 0, 2, 1], [1, 3, 0, 2]]


@given(st.integers(0, 2**31), st.integers(1, 300), st.sampled_from([2, 50, 2**50]))
def test_the_order_is_that_of_a_stable_sort(seed, width, different):
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, different, (3, width)) / different
    starts = generator.random((3, width)) < 0.7
    expected = np.argsort(np.where(starts, draws, np.inf), axis=1, kind="stable")
    assert np.array_equal(draw_order(starts, draws), expected)


def _words(starts, candidates):
    words: list[list[int]] = []
    for position in np.flatnonzero(candidates).tolist():
        if starts[position]:
            words.append([position])
        else:
            words[-1].append(position)
    return words
