"""GLUE's metrics, equal to scikit-learn and scipy, and by hand where they are not defined."""

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import ArtifactError
from stages.core.statistics import metrics


def value(name, labels, guesses, weights=None):
    """A metric of the examples as they are, or of one resample."""
    once = np.ones(len(labels)) if weights is None else weights
    return metrics.METRICS[name](labels, guesses, once[None].astype(float))[0]


@given(st.integers(0, 2**31), st.integers(2, 200), st.integers(2, 5))
def test_classification_metrics_equal_scikit_learn(seed, size, num_classes):
    generator = np.random.default_rng(seed)
    labels, guesses = generator.integers(0, num_classes, (2, size))
    for name, theirs in [
        ("accuracy", sklearn.metrics.accuracy_score),
        ("matthews_correlation", sklearn.metrics.matthews_corrcoef),
        ("macro_f1", lambda a, b: sklearn.metrics.f1_score(a, b, average="macro")),
    ]:
        assert value(name, labels, guesses) == pytest.approx(theirs(labels, guesses), abs=1e-12)
    binary = (labels > 0).astype(int), (guesses > 0).astype(int)
    expected = sklearn.metrics.f1_score(*binary, zero_division=0)
    assert value("f1", *binary) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 2**31), st.integers(3, 200), st.booleans())
def test_correlations_equal_scipy_with_and_without_ties(seed, size, has_ties):
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(2, size))
    if has_ties:
        x, y = np.round(x), np.round(y + x)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return
    assert value("pearson", x, y) == pytest.approx(scipy.stats.pearsonr(x, y)[0], abs=1e-12)
    assert value("spearman", x, y) == pytest.approx(scipy.stats.spearmanr(x, y)[0], abs=1e-12)


@given(st.integers(0, 2**31), st.integers(2, 60), st.sampled_from(sorted(metrics.METRICS)))
def test_resamples_score_as_their_examples_written_out(seed, size, name):
    generator = np.random.default_rng(seed)
    labels, guesses = generator.integers(0, 2, (2, size)).astype(float)
    chosen = generator.integers(0, size, (5, size))
    weights = np.stack([np.bincount(row, minlength=size) for row in chosen]).astype(float)
    together = metrics.METRICS[name](labels, guesses, weights)
    for row, found in zip(chosen, together, strict=True):
        assert found == pytest.approx(value(name, labels[row], guesses[row]), abs=1e-12)


def test_values_worked_by_hand():
    labels = np.array([1, 1, 0, 0, 1])
    guesses = np.array([1, 0, 0, 1, 1])
    # 2 true positives, 1 false positive, 1 false negative, 1 true negative
    assert value("accuracy", labels, guesses) == pytest.approx(3 / 5)
    assert value("f1", labels, guesses) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert value("matthews_correlation", labels, guesses) == pytest.approx(
        (2 * 1 - 1 * 1) / np.sqrt(3 * 3 * 2 * 2)
    )


@pytest.mark.parametrize("name", ["matthews_correlation", "pearson", "spearman"])
def test_a_constant_prediction_scores_zero(name):
    labels = np.array([0.0, 1.0, 1.0, 0.0])
    assert value(name, labels, np.ones(4)) == 0.0


def test_the_absent_class_of_f1_scores_zero():
    assert value("f1", np.zeros(3), np.zeros(3)) == 0.0


@pytest.mark.parametrize(
    ("names", "classes", "message"),
    [
        (["bleu"], ["a", "b"], r"its metrics are \['bleu'\]; for 2 classes expected some of"),
        (["f1"], ["a", "b", "c"], r"\['f1'\]; for 3 classes expected some of .*'macro_f1'"),
        (["pearson"], ["a", "b"], r"\['pearson'\]; for 2 classes"),
        (["accuracy"], [], r"\['accuracy'\]; for scores expected some of \['pearson', 'spearman'"),
        ([], ["a", "b"], r"its metrics are \[\]"),
    ],
)
def test_metrics_that_do_not_fit_the_task_are_refused(names, classes, message):
    with pytest.raises(ArtifactError, match=message):
        metrics.require_metrics(names, where="task toy", classes=classes)
