"""The flows: their forms, what they need of the graph, what is tried again, what they leave."""

import logging
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.processes import OverdueError
from pipelines.repro import StageError, needed_stages
from stages.core.errors import SettingsError, TrackingError

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow  # Prefect's import alone takes seconds
GRAPH = {
    "corpus": (),
    "tokenizer": ("corpus",),
    "pretraining": ("tokenizer",),
    "finetuning@a": ("pretraining",),
    "finetuning@b": ("pretraining",),
    "evaluation": ("finetuning@a", "finetuning@b"),
}


def test_a_goal_needs_what_leads_to_its_stages_and_nothing_else():
    assert list(needed_stages(GRAPH, ["tokenizer"])) == ["corpus", "tokenizer"]
    assert "evaluation" not in needed_stages(GRAPH, ["finetuning"])
    assert {"finetuning@a", "finetuning@b"} <= set(needed_stages(GRAPH, ["finetuning"]))
    with pytest.raises(SettingsError, match="no stage 'serving'; there are"):
        needed_stages(GRAPH, ["serving"])


@pytest.mark.parametrize(
    "name", ["train", "pretrain", "finetune", "evaluate", "refresh", "compare"]
)
def test_every_flow_has_a_typed_form_with_sentences(name):
    from pipelines import flows

    schema = getattr(flows, name).parameters
    assert {"recipe", "overrides", "launcher", "revision"} <= set(schema.properties)
    assert schema.properties["launcher"]["enum"] == ["local", "slurm", "kubernetes"]
    assert "wikipedia-cpu" in schema.properties["recipe"]["enum"]
    assert all(one.get("description") for one in schema.properties.values())


def test_sections_and_fields_keep_their_order_where_keys_have_none():
    from pipelines.form import settings_form
    from pipelines.settings import SECTIONS

    schema = settings_form(ROOT).model_json_schema()

    def in_order(model):
        return sorted(model["properties"], key=lambda name: model["properties"][name]["position"])

    assert in_order(schema) == list(SECTIONS)
    assert in_order(schema["$defs"]["Budget"]) == ["unit", "amount"]


def test_wrong_parameters_and_inputs_are_not_tried_again_and_the_rest_is():
    from pipelines.stage_task import can_be_mended

    def mended(error):
        return can_be_mended(None, None, SimpleNamespace(data=error))

    assert not mended(StageError("params.yaml: ...", 2))
    assert not mended(StageError("artifacts/corpus: missing", 3))
    assert mended(StageError("MLflow (http://...) cannot be opened", TrackingError.exit_code))
    assert mended(StageError("killed", 137))
    assert mended(OverdueError("after 3600 s"))
    assert mended(OSError("no memory"))


def test_registration_and_the_gate_wait_for_an_mlflow_that_starts_again(monkeypatch):
    from pipelines.stage_task import DELAY_VARIABLE, can_be_mended, gate_task, stage_task

    monkeypatch.delenv(DELAY_VARIABLE, raising=False)
    run = SimpleNamespace()
    for task in (stage_task("registration", run), gate_task(run)):
        assert task.retry_delay_seconds == [10, 20, 40]
        assert task.retry_condition_fn is can_be_mended


def test_retries_and_hours_come_from_the_table_or_the_environment(monkeypatch):
    from pipelines.stage_task import RETRIES, of_stage

    assert of_stage("pretraining", RETRIES, "CLOZE_STAGE_RETRIES") == 3
    assert of_stage("corpus", RETRIES, "CLOZE_STAGE_RETRIES") == 1
    monkeypatch.setenv("CLOZE_STAGE_RETRIES", "finetuning=5,others=0")
    assert of_stage("finetuning@CoLA", RETRIES, "CLOZE_STAGE_RETRIES") == 5
    assert of_stage("corpus", RETRIES, "CLOZE_STAGE_RETRIES") == 0
    monkeypatch.setenv("CLOZE_STAGE_RETRIES", "many")
    with pytest.raises(SettingsError, match="CLOZE_STAGE_RETRIES has 'many', expected STAGE="):
        of_stage("corpus", RETRIES, "CLOZE_STAGE_RETRIES")


def test_the_steps_of_a_training_are_read_off_its_lines():
    from pipelines.training_progress import TrainingProgress

    progress = TrainingProgress()
    progress.read("12:00:00 pretraining step number=6 done=0.5 comparison_mlm_loss=5.1")
    progress.read("12:00:01 pretraining resumed step=4")
    progress.read(
        "12:00:02 pretraining step number=7 done=0.25 loss=4.951 masked_lm_loss=4.2 "
        "tokens_per_second=12345.6 learning_rate=0.001"
    )
    assert progress.table().splitlines()[2:] == ["| 7 | 25.0 % | 4.951 | 12,346 |"]


def test_a_note_says_what_failed_where_and_what_to_do():
    from pipelines.run_notes import note

    text = note("failed", "train-checkout-1", "exit code 1", ["corpus", "gate"], Path("/run"))
    assert text.startswith("### train-checkout-1 failed")
    assert "- not finished: corpus, gate; their logs" in text
    assert "- workspace: `/run`" in text
    assert "run again with the same parameters" in text


def test_a_finished_run_stays_finished_where_its_branch_cannot_be_made(
    project, monkeypatch, caplog
):
    from pipelines import flow_run

    subprocess.run(["git", "branch", "cloze"], cwd=project, check=True)
    monkeypatch.setattr(flow_run, "folder_name", lambda: "run")
    monkeypatch.setattr(flow_run, "get_run_logger", logging.getLogger)
    assert flow_run.branch_of(project, "2 of 3 stages ran") == ""
    assert re.search(r"no branch holds the run's state: .*cannot lock ref", caplog.text)


def test_mlflows_address_is_shown_without_its_password(monkeypatch):
    from pipelines.flow_run import _mlflow_address

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@tracking.example.org:8443/x")
    assert _mlflow_address() == "https://tracking.example.org:8443/x"
