from pathlib import Path

import pytest

from stages.core.errors import ArtifactError
from stages.registration.candidates import (
    Candidate,
    describe,
    registered_name,
    require_distinct,
    score_tags,
)

EVALUATION = {
    "tasks": {
        "STS-B": {
            "encoder": {"pearson": {"mean": 0.8123456, "sd": 0.1}, "spearman": {"mean": 0.8}}
        },
        "RTE": {"encoder": {"accuracy": {"mean": 0.5}}},
    }
}
ENCODER = Candidate("cloze-encoder", Path("encoder"), "aaa.dir")
TASK = Candidate("cloze-sts-b", Path("model"), "bbb.dir", task="STS-B")


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("SST-2", "cloze-sst-2"),
        ("sample-similarity", "cloze-sample-similarity"),
        ("my task/v1", "cloze-my-task-v1"),
    ],
)
def test_registered_names_are_lower_case_and_fit_into_a_url(task: str, name: str) -> None:
    assert registered_name("cloze-", task) == name


def test_two_tasks_under_one_name_are_refused() -> None:
    twins = [Candidate("cloze-rte", Path(), "x", task=task) for task in ("RTE", "rte")]
    with pytest.raises(ArtifactError, match="RTE and rte would both be registered as 'cloze-rte'"):
        require_distinct([ENCODER, *twins])
    clash = Candidate("cloze-encoder", Path(), "x", task="encoder")
    with pytest.raises(ArtifactError, match="the encoder and encoder would both"):
        require_distinct([ENCODER, clash])


def test_a_task_model_carries_its_scores_and_the_encoder_those_of_all_tasks() -> None:
    assert score_tags(TASK, EVALUATION) == {"score.pearson": "0.812346", "score.spearman": "0.8"}
    assert score_tags(ENCODER, EVALUATION) == {
        "score.STS-B.pearson": "0.812346",
        "score.STS-B.spearman": "0.8",
        "score.RTE.accuracy": "0.5",
    }


def test_the_description_leads_to_the_runs_that_made_the_artefacts() -> None:
    text = describe(TASK, EVALUATION, {"artifacts/pretraining": "#/experiments/1/runs/r"})
    assert text == (
        "Task STS-B, the model of the median seed.\n\n"
        "Mean over the seeds: pearson 0.812346, spearman 0.8.\n\n"
        "Made by the runs of [artifacts/pretraining](#/experiments/1/runs/r)."
    )
