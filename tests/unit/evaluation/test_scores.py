import math
from typing import Any

import pytest

from stages.core.errors import ArtifactError
from stages.evaluation.scores import Measure, TaskScores, long_form, parse_scores
from tests.unit.evaluation.conftest import intervals_of

METRICS = ("f1", "accuracy")


def content(**changes: Any) -> dict[str, Any]:
    systems = {
        "encoder": {
            "seeds": {"1": {"f1": 0.8, "accuracy": 0.6}, "2": {"f1": 0.9, "accuracy": 0.7}}
        },
        "twin": {"seeds": {"1": {"f1": 0.5, "accuracy": 0.4}, "2": {"f1": 0.6, "accuracy": 0.3}}},
    }
    return {
        "task": "MRPC",
        "systems": {**systems, **changes},
        "intervals": intervals_of("f1", "accuracy"),
    }


def parse(value: Any) -> TaskScores:
    return parse_scores("MRPC", value, metrics=METRICS, seeds=(1, 2), where="metrics.json")


def test_every_value_of_every_system_seed_and_metric_is_read():
    scores = parse(content())
    assert scores.measures == (Measure("dev", "f1"), Measure("dev", "accuracy"))
    assert scores.values["encoder"][Measure("dev", "f1")] == (0.8, 0.9)
    assert scores.values["twin"][Measure("dev", "accuracy")] == (0.4, 0.3)


def test_a_task_score_is_the_mean_of_its_measures_seed_by_seed():
    assert parse(content()).task_scores("encoder") == pytest.approx((0.7, 0.8))


def test_a_second_development_set_is_a_measure_of_the_same_task():
    systems = {
        name: {"seeds": {"1": {"accuracy": 0.6, "dev_mismatched": {"accuracy": 0.4}}}}
        for name in ("encoder", "twin")
    }
    scores = parse_scores(
        "MNLI",
        {"systems": systems, "intervals": intervals_of("accuracy", "dev_mismatched/accuracy")},
        metrics=("accuracy",),
        seeds=(1,),
        where="m",
    )
    assert [measure.label for measure in scores.measures] == ["accuracy", "dev_mismatched/accuracy"]
    assert scores.measures[1].words == "accuracy on dev mismatched"
    assert scores.task_scores("encoder") == (0.5,)


def test_a_labelled_split_that_is_no_development_set_is_left_alone():
    value = content()
    for system in value["systems"].values():
        for entry in system["seeds"].values():
            entry["test_mismatched"] = {"f1": 0.1, "accuracy": 0.1}
    assert parse(value) == parse(content())


def test_the_intervals_of_every_measure_and_of_the_score_are_read():
    found = parse(content()).intervals
    assert set(found) == {"f1", "accuracy", "score"}
    assert found["f1"]["difference"] == (0.01, 0.4)


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ({}, "None for encoder"),
        ({"encoder": [0.5, 0.9], "twin": [0.3, 0.7]}, "None for difference"),
        ({"encoder": [0.9, 0.5], "twin": [0.3, 0.7]}, r"\[0.9, 0.5\] for encoder"),
        ({"encoder": [0.5, math.nan]}, r"\[0.5, nan\] for encoder"),
        ({"encoder": [0.5]}, r"\[0.5\] for encoder"),
    ],
)
def test_intervals_that_are_missing_or_no_intervals_are_refused(entry, found):
    value = content()
    value["intervals"] = {**value["intervals"], "accuracy": entry}
    with pytest.raises(ArtifactError, match=f"the interval of accuracy is {found}, expected two"):
        parse(value)


def test_metrics_of_a_time_without_intervals_ask_for_another_run():
    value = content()
    del value["intervals"]
    with pytest.raises(ArtifactError, match="run the fine-tuning of this task again"):
        parse(value)


def test_a_missing_twin_is_refused():
    value = content()
    del value["systems"]["twin"]
    with pytest.raises(ArtifactError, match=r"metrics\.json: systems are \['encoder'\], expected"):
        parse(value)


def test_a_file_that_is_no_mapping_is_refused():
    with pytest.raises(ArtifactError, match="systems are NoneType, expected"):
        parse([1, 2])


def test_a_seed_that_was_not_trained_is_refused():
    twin = {"seeds": {"1": {"f1": 0.5, "accuracy": 0.4}}}
    with pytest.raises(
        ArtifactError, match=r"twin: scores of the seeds \['1'\], expected \['1', '2'\]"
    ):
        parse(content(twin=twin))


def test_a_metric_that_the_task_does_not_name_is_refused():
    value = content()
    value["systems"]["encoder"]["seeds"]["1"]["precision"] = 0.5
    with pytest.raises(ArtifactError, match=r"scores \['precision'\] are not among the task's"):
        parse(value)


@pytest.mark.parametrize("bad", [None, "0.8", True, math.nan, math.inf])
def test_a_score_that_is_no_finite_number_is_refused(bad: Any):
    value = content()
    value["systems"]["twin"]["seeds"]["2"]["accuracy"] = bad
    with pytest.raises(ArtifactError, match=r"twin, seed 2: accuracy is .* expected a finite"):
        parse(value)


def test_a_missing_metric_is_refused():
    value = content()
    del value["systems"]["encoder"]["seeds"]["2"]["f1"]
    with pytest.raises(ArtifactError, match="encoder, seed 2: f1 is None"):
        parse(value)


def test_the_long_form_holds_a_line_for_every_score():
    lines = long_form([parse(content())]).splitlines()
    assert lines[0] == "task,system,seed,split,metric,value"
    assert lines[1:3] == ["MRPC,encoder,1,dev,f1,0.8", "MRPC,encoder,1,dev,accuracy,0.6"]
    assert len(lines) == 1 + 2 * 2 * 2
