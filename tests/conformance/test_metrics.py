"""GLUE's metrics, equal to scikit-learn and scipy, and by hand where they are not defined."""

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import ArtifactError
from stages.finetuning import metrics


@given(st.integers(0, 2**31), st.integers(2, 200), st.integers(2, 5))
def test_classification_metrics_equal_scikit_learn(seed, size, num_classes):
    generator = np.random.default_rng(seed)
    labels, guesses = generator.integers(0, num_classes, (2, size))
    for ours, theirs in [
        (metrics.accuracy, sklearn.metrics.accuracy_score),
        (metrics.matthews_correlation, sklearn.metrics.matthews_corrcoef),
        (metrics.macro_f1, lambda a, b: sklearn.metrics.f1_score(a, b, average="macro")),
    ]:
        assert ours(labels, guesses) == pytest.approx(theirs(labels, guesses), abs=1e-12)
    binary = (labels > 0).astype(int), (guesses > 0).astype(int)
    expected = sklearn.metrics.f1_score(*binary, zero_division=0)
    assert metrics.f1(*binary) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 2**31), st.integers(3, 200), st.booleans())
def test_correlations_equal_scipy_with_and_without_ties(seed, size, has_ties):
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(2, size))
    if has_ties:
        x, y = np.round(x), np.round(y + x)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return
    assert metrics.pearson(x, y) == pytest.approx(scipy.stats.pearsonr(x, y)[0], abs=1e-12)
    assert metrics.spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y)[0], abs=1e-12)


def test_values_worked_by_hand():
    labels = np.array([1, 1, 0, 0, 1])
    guesses = np.array([1, 0, 0, 1, 1])
    # 2 true positives, 1 false positive, 1 false negative, 1 true negative
    assert metrics.accuracy(labels, guesses) == pytest.approx(3 / 5)
    assert metrics.f1(labels, guesses) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert metrics.matthews_correlation(labels, guesses) == pytest.approx(
        (2 * 1 - 1 * 1) / np.sqrt(3 * 3 * 2 * 2)
    )


@pytest.mark.parametrize("name", ["matthews_correlation", "pearson", "spearman"])
def test_a_constant_prediction_scores_zero(name):
    labels = np.array([0.0, 1.0, 1.0, 0.0])
    assert metrics.METRICS[name](labels, np.ones(4)) == 0.0


def test_the_absent_class_of_f1_scores_zero():
    assert metrics.f1(np.zeros(3), np.zeros(3)) == 0.0


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
