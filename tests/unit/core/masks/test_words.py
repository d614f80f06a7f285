"""Choosing masked positions: budgets, whole words, and the skipping of what overflows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.core.masks.words import choose_units, prediction_budget


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


def _words(starts, candidates):
    words: list[list[int]] = []
    for position in np.flatnonzero(candidates).tolist():
        if starts[position]:
            words.append([position])
        else:
            words[-1].append(position)
    return words
