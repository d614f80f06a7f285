import re

import numpy as np

from stages.evaluation.calibration import Bin, Calibration
from stages.evaluation.diagrams import MOST_DOTS, agreement, reliability


def test_a_dot_lies_at_confidence_and_accuracy_and_its_area_is_the_share():
    bins = (Bin(25, 0.5, 0.5), Bin(75, 1.0, 1.0))
    svg = reliability("c", {"encoder": Calibration(0.0, bins)})
    dots = re.findall(r'<circle class="dot encoder" cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)">', svg)
    assert dots == [("46.0", "212.0", "6.5"), ("504.0", "36.0", "11.3")]
    assert "<title>encoder: 75 examples, 100.0 % sure, 100.0 % right</title>" in svg


def test_a_large_set_is_drawn_by_every_nth_example_and_says_so():
    labels = np.linspace(0, 5, 2 * MOST_DOTS)
    svg = agreement("a", labels, {"encoder": labels})
    assert len(re.findall(r'<circle class="dot encoder" cx="[\d.]+" cy="[\d.]+" r="2.5"', svg)) == (
        MOST_DOTS
    )
    assert "one example in 2" in svg
    assert "every example" in agreement("a", labels[:9], {"encoder": labels[:9]})
