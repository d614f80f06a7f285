"""Intervals: the textbook's width, the pairing, several splits, and that they repeat."""

import numpy as np
import pytest
from scipy import stats

from stages.finetuning.intervals import intervals
from stages.finetuning.task import Task, TaskExamples


def task_of(labels, kind="classification", metrics=("accuracy",), further=()) -> Task:
    examples = TaskExamples(
        np.arange(len(labels)), ["text"] * len(labels), None, np.asarray(labels, dtype=float)
    )
    splits = dict.fromkeys(("train", "dev", *further), examples)
    return Task("toy", kind, () if kind == "regression" else ("no", "yes"), metrics, splits)


def outputs_of(guesses):
    """Head outputs whose greatest is the guess."""
    return np.eye(2)[np.asarray(guesses, dtype=int)]


def systems_of(encoder, twin, splits=("dev",)):
    """System -> seed -> split -> outputs, of one guess for each seed."""
    return {
        system: {seed: dict.fromkeys(splits, outputs_of(one)) for seed, one in enumerate(guesses)}
        for system, guesses in (("encoder", encoder), ("twin", twin))
    }


def test_the_interval_of_an_accuracy_is_near_the_binomials():
    labels = np.ones(400)
    guesses = np.arange(400) % 4 > 0  # three of four right
    found = intervals(task_of(labels), systems_of([guesses], [guesses]))["accuracy"]["encoder"]
    expected = stats.binom(400, 0.75).ppf([0.025, 0.975]) / 400
    assert found == pytest.approx(expected, abs=0.01)


def test_the_interval_of_a_mean_difference_is_near_scipys_bootstrap():
    generator = np.random.default_rng(0)
    labels, first, second = generator.integers(0, 2, (3, 300))
    difference = (first == labels).astype(float) - (second == labels)
    theirs = stats.bootstrap(
        (difference,), np.mean, method="percentile", n_resamples=9999, rng=generator
    ).confidence_interval
    found = intervals(task_of(labels), systems_of([first], [second]))["accuracy"]["difference"]
    assert found == pytest.approx([theirs.low, theirs.high], abs=0.012)


def test_systems_that_err_on_the_same_examples_differ_by_nothing():
    labels = np.arange(50) % 2
    guesses = np.where(np.arange(50) % 5 == 0, 1 - labels, labels)
    found = intervals(task_of(labels), systems_of([guesses], [guesses]))["accuracy"]
    assert found["difference"] == [0.0, 0.0]
    assert found["encoder"][0] < 0.8 < found["encoder"][1]


def test_seeds_are_averaged_before_they_are_compared():
    labels = np.ones(100)
    right, wrong = np.ones(100), np.zeros(100)
    found = intervals(task_of(labels), systems_of([right, wrong], [wrong, wrong]))["accuracy"]
    assert found["encoder"] == [0.5, 0.5]
    assert found["difference"] == [0.5, 0.5]


def test_every_measure_has_its_interval_and_the_score_is_their_mean():
    labels = np.arange(60) % 2
    task = task_of(labels, metrics=("accuracy", "f1"), further=("dev_mismatched",))
    right = systems_of([labels], [1 - labels], ("dev", "dev_mismatched"))
    found = intervals(task, right)
    names = ["accuracy", "f1", "dev_mismatched/accuracy", "dev_mismatched/f1", "score"]
    assert list(found) == names
    for one in found.values():
        assert one == {"encoder": [1.0, 1.0], "twin": [0.0, 0.0], "difference": [1.0, 1.0]}


def test_the_interval_of_a_correlation_holds_the_correlation():
    generator = np.random.default_rng(1)
    labels = generator.normal(size=200)
    near, far = (labels + noise * generator.normal(size=200) for noise in (0.5, 3.0))
    task = task_of(labels, "regression", ("pearson", "spearman"))
    systems = {"encoder": {1: {"dev": near[:, None]}}, "twin": {1: {"dev": far[:, None]}}}
    found = intervals(task, systems)
    low, high = found["pearson"]["encoder"]
    assert low < stats.pearsonr(labels, near)[0] < high
    fisher = np.tanh(np.arctanh(stats.pearsonr(labels, near)[0]) + np.array([-1, 1]) * 1.96 / 14.04)
    assert [low, high] == pytest.approx(fisher, abs=0.03)
    assert found["spearman"]["difference"][0] > 0


def test_the_same_models_get_the_same_intervals_again():
    labels = np.arange(40) % 2
    systems = systems_of([labels], [1 - labels])
    assert intervals(task_of(labels), systems) == intervals(task_of(labels), systems)
