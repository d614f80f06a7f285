"""`python -m pipelines adopt` in a project: the checkpoint is found, copied and recorded."""

import pytest

from stages.core.artifacts import read_json

# What adopting does is in `make test`: tests/unit/pretraining/test_adoption.py.
pytestmark = [pytest.mark.e2e, pytest.mark.soak]
BUDGET = {"unit": "steps", "amount": 12}


def test_a_checkpoint_is_adopted_for_a_longer_budget(project):
    checkpoints = project.root / ".cloze" / "checkpoints"
    (before,) = [path for path in checkpoints.iterdir() if any(path.glob("step-*"))]
    adopt = ("python", "-m", "pipelines", "adopt", str(before), "--reason", "it still falls")
    result = project.run(*adopt)
    assert result.returncode == 2
    assert "dvc repro goes on from it" in result.stderr
    project.change({"pretraining": {"budget": BUDGET | {"amount": 14}}})
    try:
        result = project.run(*adopt)
    finally:
        project.change({"pretraining": {"budget": BUDGET}})
    assert result.returncode == 0, result.stderr
    (after,) = [path for path in checkpoints.iterdir() if path != before]
    (record,) = read_json(after / "adoptions.json")
    assert record["changed"] == {"params.budget.amount": [12.0, 14.0]}
    assert next(after.glob("step-*")).name == "step-00000012"
