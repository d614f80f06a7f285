"""One task as read, and refusals that name task and file."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import ArtifactError
from stages.evaluation.finetuned import Finetuned, median_seed, read_finetuned
from stages.evaluation.scores import Measure, TaskScores

NAME = "sample-continuation"


def read(workspace: Any, name: str = NAME) -> Finetuned:
    return read_finetuned(
        name,
        workspace.tasks[name],
        [1, 2, 3],
        folder=workspace.paths["finetuning"] / name,
        task_folder=workspace.paths["tasks"] / name,
    )


def test_the_median_seed_is_that_of_the_main_development_set():
    main, further = Measure("dev", "accuracy"), Measure("dev_mismatched", "accuracy")
    values = {main: (0.5, 0.7, 0.6, 0.9), further: (0.9, 0.0, 0.9, 0.1)}
    scores = TaskScores("MNLI", (1, 2, 3, 4), (main, further), {"twin": values}, {})
    assert median_seed(scores, "twin") == 3  # of 0.6 and 0.7 the lower


def test_the_surest_mistakes_are_those_of_the_kept_seed(workspace):
    found = read(workspace)
    assert [mistake.index for mistake in found.mistakes] == [8, 4, 0]
    assert found.mistakes[0].facts["predicted"] == "yes"
    assert found.mistakes[0].texts == (("text", f"text 8 of {NAME}"),)


@pytest.mark.parametrize("file", ["curves.json", "predictions.parquet", "metrics.json"])
def test_a_missing_file_is_named_with_its_task(workspace, file):
    (workspace.paths["finetuning"] / NAME / file).unlink()
    with pytest.raises(ArtifactError, match=rf"finetuning/{NAME}/{file}: missing; run"):
        read(workspace)


def test_a_missing_development_set_is_named_with_its_task(workspace):
    (workspace.paths["tasks"] / NAME / "dev.parquet").unlink()
    with pytest.raises(ArtifactError, match=rf"tasks/{NAME}/dev\.parquet: missing; run tasks"):
        read(workspace)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": [9] * 72}, r"predictions of the seeds \[9\], expected \[1, 2, 3\]"),
        ({"split": ["test"] * 72}, "encoder, seed 1: 0 predictions for dev, expected 12"),
        ({"prediction": [2.0] * 72}, "example 0 has 2 among its values, expected a class id below"),
        (
            {"scores": [[1.0]] * 72},
            "1 outputs an example, expected 2, as the task asks for classes",
        ),
        ({"label": [1.0] * 72}, r"example 0 has the label 1, but .*dev\.parquet says 0"),
        ({"index": [*range(1, 13)] * 6}, r"example 0 is not in both it and .*dev\.parquet"),
        (
            {"label": [0.0] * 36 + [1.0] * 36},
            "encoder and twin predict different examples or labels of dev",
        ),
    ],
)
def test_predictions_that_do_not_fit_are_refused_by_file(workspace, changed, message):
    workspace.write_predictions(NAME, changed)
    with pytest.raises(ArtifactError, match=rf"{NAME}/predictions\.parquet.*{message}"):
        read(workspace)


def test_a_median_seed_that_is_none_of_the_seeds_is_refused(workspace):
    path = workspace.paths["finetuning"] / NAME / "metrics.json"
    workspace.write_json(path, json.loads(path.read_text()) | {"median_seed": 7})
    with pytest.raises(ArtifactError, match=r"metrics\.json: median_seed is 7, expected one of"):
        read(workspace)


def test_an_extraction_has_wrong_answers_and_nothing_of_classes(workspace):
    workspace.add_extraction("SQuAD")
    found = read(workspace, "SQuAD")
    assert found.predictions == {}
    assert [mistake.facts["right"] for mistake in found.mistakes] == ["gold 0", "gold 4", "gold 8"]
    workspace.write_predictions("SQuAD")
    with pytest.raises(ArtifactError, match="holds no answers to the task's questions"):
        read(workspace, "SQuAD")


def test_questions_without_gold_answers_are_refused(workspace):
    workspace.add_extraction("SQuAD")
    table = pa.table({"index": list(range(12)), "question": ["?"] * 12})
    pq.write_table(table, workspace.paths["tasks"] / "SQuAD" / "dev.parquet")
    with pytest.raises(ArtifactError, match=r"SQuAD/dev\.parquet: has no columns \['answers'\]"):
        read(workspace, "SQuAD")
