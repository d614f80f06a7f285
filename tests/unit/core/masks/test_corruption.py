"""Replacing chosen tokens: shares within binomial bounds, and nothing else touched."""

import numpy as np
import pytest

from stages.core.masks.corruption import Corruption, corrupt
from stages.core.random import Draws

WORDS = np.arange(10, 1010)


def corrupted(chosen, mask=0.8, random=0.1, ids=None):
    ids = np.full(chosen.shape, 7) if ids is None else ids
    corruption = Corruption(4, mask, random, WORDS)
    draws = Draws(1, "t").at(np.arange(len(ids)))
    return corrupt(ids, chosen, corruption=corruption, draws=draws)


def test_eighty_ten_ten_within_five_standard_deviations():
    chosen = np.ones((1000, 100), dtype=bool)
    shown = corrupted(chosen)
    n = chosen.size
    for share, expected in [
        ((shown == 4).mean(), 0.8),
        ((shown == 7).mean(), 0.1),
        ((shown >= 10).mean(), 0.1),
    ]:
        assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / n)


def test_random_words_are_uniform_over_what_may_be_drawn():
    shown = corrupted(np.ones((1000, 200), dtype=bool), mask=0.0, random=1.0)
    counts = np.bincount(shown.ravel() - 10, minlength=1000)
    assert counts.sum() == shown.size
    expected = shown.size / 1000
    assert ((counts - expected) ** 2 / expected).sum() < 999 + 5 * np.sqrt(2 * 999)


@pytest.mark.parametrize(("mask", "random", "value"), [(1.0, 0.0, 4), (0.0, 0.0, 7)])
def test_the_extremes_are_exact(mask, random, value):
    assert (corrupted(np.ones((5, 9), dtype=bool), mask, random) == value).all()


def test_positions_that_were_not_chosen_and_the_input_stay():
    ids = np.arange(40).reshape(4, 10)
    before = ids.copy()
    chosen = np.zeros_like(ids, dtype=bool)
    chosen[:, 3] = True
    shown = corrupted(chosen, 1.0, 0.0, ids)
    assert (np.delete(shown, 3, axis=1) == np.delete(before, 3, axis=1)).all()
    assert (ids == before).all()


def test_a_run_of_chosen_tokens_has_one_draw_and_random_words_one_each():
    """By run: of each run all tokens are [MASK], all random or all as they are."""
    chosen = np.ones((3000, 12), dtype=bool)
    chosen[:, [0, 5, 11]] = False
    ids = np.full(chosen.shape, 7)
    shown = corrupt(
        ids,
        chosen,
        corruption=Corruption(4, 0.8, 0.1, WORDS),
        draws=Draws(1, "t").at(np.arange(len(ids))),
        is_by_run=True,
    )
    kind = np.where(shown == 4, 0, np.where(shown == 7, 1, 2))
    runs = np.concatenate([kind[:, 1:5], kind[:, 6:10]])
    assert (runs == runs[:, :1]).all()
    for number, expected in enumerate([0.8, 0.1, 0.1]):
        share = (runs[:, 0] == number).mean()
        assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / len(runs))
    words = shown[:, 1:5][kind[:, 1] == 2]
    # Four independent words of a thousand are hardly ever all equal.
    assert (words != words[:, :1]).any(axis=1).all()
    # The two runs of a row are drawn apart.
    assert abs((kind[:, 1] == kind[:, 6]).mean() - 0.66) < 5 * np.sqrt(0.66 * 0.34 / 3000)
