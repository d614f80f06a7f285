import numpy as np
from sklearn.metrics import confusion_matrix

from stages.evaluation.confusion import confusion


def test_counts_equal_those_of_scikit_learn():
    rng = np.random.default_rng(3)
    labels, predictions = (rng.integers(0, 3, 200).astype(float) for _ in range(2))
    found = confusion(labels, predictions, ["a", "b", "c"])
    assert np.array_equal(found.counts, confusion_matrix(labels, predictions))


def test_classes_are_counted_by_label_and_by_prediction():
    found = confusion(np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0]), ["no", "yes", "never"])
    assert found.counts == ((1, 1, 0), (0, 1, 0), (0, 0, 0))
    assert found.labelled == (2, 1, 0)
    assert found.predicted == (1, 2, 0)
