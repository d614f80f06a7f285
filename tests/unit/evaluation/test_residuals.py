import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from stages.evaluation.residuals import residuals


def test_a_summary_of_four_residuals_is_that_made_by_hand():
    found = residuals(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 3.0, 1.0]))
    assert (found.mean, found.mean_absolute, found.largest_absolute) == (-0.5, 1.0, 3.0)
    assert found.root_mean_square == pytest.approx(2.5**0.5)
    assert found.quartiles == (-0.75, 0.0, 0.25)


def test_errors_equal_those_of_scikit_learn():
    labels, predictions = np.random.default_rng(0).normal(size=(2, 50))
    found = residuals(labels, predictions)
    assert found.mean_absolute == pytest.approx(mean_absolute_error(labels, predictions))
    assert found.root_mean_square == pytest.approx(root_mean_squared_error(labels, predictions))
