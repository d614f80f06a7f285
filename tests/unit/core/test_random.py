"""The counter-based generator: fixed values, uniform, independent of layout, real permutations."""

import numpy as np
import pytest
from scipy.stats import chisquare

from stages.core.random import Draws, hash_fraction, unit_interval


def test_draws_are_the_same_for_ever():
    draws = Draws(1, "purpose")
    assert int(draws.bits(0)) == 6819798002857906350
    assert draws.integers(10, np.arange(5)).tolist() == [3, 2, 1, 9, 5]


def test_a_draw_does_not_depend_on_the_batch_it_is_made_in():
    draws = Draws(3, "layout")
    whole = draws.uniform(7, np.arange(100)[:, None], np.arange(50))
    part = draws.uniform(7, np.arange(40, 60)[:, None], np.arange(10, 20))
    assert np.array_equal(whole[40:60, 10:20], part)


def test_counters_may_be_given_in_parts():
    draws, rows, columns = Draws(3, "parts"), np.arange(6)[:, None], np.arange(5)
    whole = draws.bits(7, rows, columns)
    behind = draws.at(7, rows)
    for _ in range(2):  # the state behind the first counters is kept
        assert np.array_equal(behind.bits(columns), whole)
    assert np.array_equal(draws.at(7).at(rows).bits(columns), whole)
    picked = np.array([4, 1, 4])
    assert np.array_equal(behind[picked].bits(columns), whole[picked])
    assert np.array_equal(behind[picked, 0].bits(columns[:3]), whole[picked, columns[:3]])


def test_the_unit_interval_takes_the_upper_53_bits():
    bits = np.array([0, 2**11 - 1, 2**11, 2**63, 2**64 - 1], dtype=np.uint64)
    assert unit_interval(bits).tolist() == [0.0, 0.0, 2.0**-53, 0.5, 1 - 2.0**-53]


def test_seed_purpose_and_every_counter_change_the_draw():
    reference = int(Draws(1, "a").bits(1, 2, 3))
    others = [
        Draws(2, "a").bits(1, 2, 3),
        Draws(1, "b").bits(1, 2, 3),
        Draws(1, "a").bits(0, 2, 3),
        Draws(1, "a").bits(1, 0, 3),
        Draws(1, "a").bits(1, 2, 0),
        Draws(1, "a").bits(2, 1, 3),
        Draws(1, "a").bits(1, 2, 3, 0),
    ]
    assert reference not in [int(other) for other in others]


@pytest.mark.parametrize("axis", [0, 1])
def test_integers_are_uniform_along_each_counter(axis):
    counters = [5, 5]
    counters[axis] = np.arange(200_000)
    counts = np.bincount(Draws(0, "uniform").integers(97, *counters), minlength=97)
    assert chisquare(counts).pvalue > 1e-4


def test_neighbouring_counters_are_uncorrelated():
    values = Draws(0, "pairs").uniform(np.arange(100_000))
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.015


@pytest.mark.parametrize("size", [1, 2, 3, 64, 1000, 4097])
def test_permute_visits_every_index_once(size):
    order = Draws(1, "order").permute(np.arange(size), size, 3)
    assert sorted(order.tolist()) == list(range(size))


def test_permutations_differ_between_epochs_and_mix_well():
    draws = Draws(1, "order")
    first, second = (draws.permute(np.arange(5000), 5000, epoch) for epoch in (0, 1))
    assert (first == second).mean() < 0.01
    assert abs(np.corrcoef(first, np.arange(5000))[0, 1]) < 0.06


def test_hash_fraction_is_uniform_and_fixed():
    values = np.array([hash_fraction(f"document-{n}", "split") for n in range(20_000)])
    assert abs(values.mean() - 0.5) < 0.01
    assert hash_fraction("a", "split") == hash_fraction("a", "split")
    assert hash_fraction("a", "split") != hash_fraction("a", "other")
