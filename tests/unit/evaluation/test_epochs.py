from typing import Any

import pytest

from stages.core.errors import ArtifactError
from stages.evaluation.epochs import Epoch, epoch_curves, parse_epochs


def entry(number: int, **changed: Any) -> dict[str, Any]:
    values = {"epoch": number, "step": 8 * number, "train_loss": 0.5, "dev_score": 0.7}
    return {**values, "dev_accuracy": 0.7, **changed}


def curves(**changed: Any) -> dict[str, Any]:
    both = {"1": [entry(1), entry(2, train_loss=0.25)], "2": [entry(1)]}
    return {"encoder": both, "twin": both, **changed}


def read(content: Any) -> Any:
    return parse_epochs(content, seeds=[1, 2], where="RTE/curves.json")


def test_epochs_are_read_for_every_system_and_seed():
    found = read(curves())
    assert found["encoder"][1] == [Epoch(1, 8, 0.5, 0.7), Epoch(2, 16, 0.25, 0.7)]
    assert list(found["twin"]) == [1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"RTE/curves\.json: systems are list, expected \['encoder', 'twin'\]"),
        ({"encoder": {}}, r"systems are \['encoder'\]"),
        (curves(twin={"1": [entry(1)]}), r"twin: curves of the seeds \['1'\], expected \['1', '2'"),
        (curves(twin={"1": [], "2": []}), "twin, seed 1: expected a list of at least one epoch"),
        (
            curves(encoder={"1": [entry(1)], "2": [entry(1, dev_score="high")]}),
            "encoder, seed 2, entry 0: dev_score is 'high', expected a finite number",
        ),
        (
            curves(encoder={"1": [entry(1, train_loss=float("nan"))], "2": [entry(1)]}),
            "train_loss is nan",
        ),
    ],
)
def test_curves_that_do_not_fit_are_refused(content, message):
    with pytest.raises(ArtifactError, match=message):
        read(content)


def test_each_chart_has_a_line_a_seed_and_one_entry_a_system_in_its_legend():
    loss, score = (curve.svg for curve in epoch_curves(read(curves()), "task-RTE"))
    assert loss.count("<polyline") == score.count("<polyline") == 4
    assert loss.count(">random twin</text>") == loss.count(">encoder</text>") == 1
    assert "<title>encoder, seed 1, epoch 2: 0.25</title>" in loss
    assert "<title>random twin, seed 2, epoch 1: 70</title>" in score
