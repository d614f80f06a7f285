"""What stands in evaluation.json beside the scores, on the twelve examples of the workspace.

The encoder is wrong on 0, 4 and 8, the twin on every even number; labels are 0 on even numbers.
"""

import json
from typing import Any

import pytest

from stages.evaluation.params import EvaluationParams
from stages.evaluation.run import run

PARAMS = EvaluationParams(macro_score_leaves_out=(), clear_difference_deviations=2.0)


@pytest.fixture
def entries(workspace: Any) -> dict[str, Any]:
    run(PARAMS, workspace.paths, workspace.journal())
    return json.loads(workspace.paths["evaluation"].read_text(encoding="utf-8"))["tasks"]


def test_mcnemar_counts_what_only_one_system_gets_right(entries):
    # Three of three that differ fall to one side: 2 * 0.5 ** 3.
    assert entries["sample-continuation"]["mcnemar"] == {
        "accuracy": {"only_encoder": 3, "only_twin": 0, "p_value": 0.25}
    }
    assert entries["sample-acceptability"]["mcnemar"] == {}


def test_confusions_and_class_counts_are_those_of_the_median_seeds(entries):
    found = entries["sample-continuation"]
    assert found["median_seeds"] == {"encoder": 2, "twin": 1}
    assert found["confusion"] == {"encoder": [[3, 3], [0, 6]], "twin": [[0, 6], [0, 6]]}
    assert found["classes"]["no"] == {
        "examples": 6,
        "predicted_by_encoder": 3,
        "predicted_by_twin": 0,
    }


def test_calibration_has_every_example_in_one_group(entries):
    found = entries["sample-continuation"]["calibration"]
    assert found["bins"] == 15
    assert sum(group["examples"] for group in found["encoder"]["groups"]) == 12
    assert 0 < found["encoder"]["expected_error"] < found["twin"]["expected_error"] < 1


def test_a_regression_has_a_summary_of_residuals_instead(entries):
    found = entries["sample-similarity"]
    assert "confusion" not in found
    assert found["residuals"]["encoder"]["mean"] == (3 * 1.0 + 9 * 0.25) / 12
    assert found["residuals"]["twin"]["largest_absolute"] == 1.0
