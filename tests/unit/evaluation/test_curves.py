import pytest

from stages.core.errors import ArtifactError
from stages.evaluation.curves import learning_curves

POINTS = [
    {
        "step": float(step),
        **{
            f"{split}_{name}": 0.5
            for split in ("train", "validation")
            for name in ("nsp_accuracy", "nsp_loss", "mlm_accuracy", "mlm_loss", "loss")
        },
    }
    for step in (100, 200)
]


def test_the_total_loss_comes_first_then_each_term_loss_before_accuracy():
    assert [curve.heading for curve in learning_curves(POINTS, "curve.json")] == [
        "Total loss",
        "Masked language model: loss",
        "Masked language model: accuracy",
        "Next sentence: loss",
        "Next sentence: accuracy",
    ]


def test_an_unknown_term_of_another_objective_is_drawn_by_its_name():
    points = [{"step": 1.0, "validation_replaced_token_loss": 0.4}]
    (curve,) = learning_curves(points, "curve.json")
    assert curve.heading == "replaced token: loss"
    assert "validation from 0.4 to 0.4" in curve.svg
    assert "training</text>" not in curve.svg


def test_accuracies_are_percent_and_losses_nats():
    loss, accuracy = learning_curves(
        [{"step": 1.0, "train_mlm_loss": 2.0, "train_mlm_accuracy": 0.25}], "curve.json"
    )
    assert ">nats<" in loss.svg
    assert ">%<" in accuracy.svg
    assert "step 1: 25<" in accuracy.svg


def test_validation_is_drawn_above_training():
    svg = learning_curves(POINTS, "curve.json")[0].svg
    assert svg.index('polyline class="curve train"') < svg.index('polyline class="curve valid')


def test_an_untrained_start_has_no_curve():
    assert learning_curves([], "curve.json") == []


@pytest.mark.parametrize("bad", [{"step": 1}, [{"train_loss": 1.0}], [3], [{"step": "1"}]])
def test_what_is_no_list_of_points_is_refused(bad):
    with pytest.raises(ArtifactError, match=r"curve\.json: expected a list of points with a step"):
        learning_curves(bad, "curve.json")
