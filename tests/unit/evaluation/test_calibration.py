import numpy as np
import pytest
from scipy.special import softmax

from stages.evaluation.calibration import Bin, calibration, probabilities


def logits_of(*confidences: float) -> np.ndarray:
    """Two classes, class 0 predicted with these probabilities."""
    return np.array([[np.log(one), np.log(1 - one)] for one in confidences])


def test_probabilities_are_the_softmax_also_of_large_logits():
    outputs = np.array([[1.0, 2.0, -3.0], [1000.0, 999.0, 0.0]])
    assert probabilities(outputs) == pytest.approx(softmax(outputs, axis=1))


def test_the_expected_error_is_the_distance_of_confidence_and_accuracy():
    # Bin 14 (0.867 to 0.933]: 0.9 twice, one right: |0.9 - 0.5| of 2 examples.
    # Bin 9 (0.533 to 0.6]: 0.55 twice, both right: |0.55 - 1| of 2 examples.
    found = calibration(logits_of(0.9, 0.9, 0.55, 0.55), np.array([0.0, 1.0, 0.0, 0.0]))
    assert found.expected_error == pytest.approx((2 * 0.4 + 2 * 0.45) / 4)
    assert [(one.examples, one.accuracy) for one in found.bins] == [(2, 1.0), (2, 0.5)]
    assert [one.confidence for one in found.bins] == pytest.approx([0.55, 0.9])


def test_over_and_under_confidence_within_a_bin_cancel_out():
    found = calibration(logits_of(0.75, 0.75, 0.75, 0.75), np.array([0.0, 0.0, 0.0, 1.0]))
    assert found.expected_error == pytest.approx(0.0, abs=1e-12)


def test_certainty_falls_into_the_last_bin():
    found = calibration(np.array([[800.0, 0.0], [0.0, 800.0]]), np.array([0.0, 0.0]))
    assert found.bins == (Bin(2, 1.0, 0.5),)
    assert found.expected_error == 0.5
