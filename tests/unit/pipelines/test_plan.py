"""`plan`: the stage's numbers as lines, which artefacts count, and what is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipelines import plan as planning
from pipelines.plan import plan_lines, plan_training
from pipelines.recipes import parse_assignment
from pipelines.repro import StageError
from stages.core.errors import SettingsError
from stages.core.settings import read_yaml

ROOT = Path(__file__).resolve().parents[3]
PHASE = {
    "steps": 900_000,
    "sequences": 230_400_000,
    "tokens": 2.95e10,
    "flops": 5.38e19,
    "minutes": 2266.4,
    "max_seq_length": 128,
    "passes": 4,
    "micro_batch_sequences": 64,
    "tokens_per_sequence": 128.0,
    "tokens_per_second": 216_874.0,
    "epochs": None,
}
MEMORY = dict.fromkeys(planning._PARTS, 2.0**30) | {
    "total_bytes": 7.0 * 2**30,
    "available_bytes": 22.5 * 2**30,
    "fits": True,
    "largest_micro_batch_sequences": 255,
    "advice": [],
}
PLAN = {
    "objective": "bert",
    "precision": "bfloat16",
    "vocab_size": 30528,
    "parameters": 336_232_258,
    "machine": "l4",
    "processes": 1,
    "budget": {"unit": "steps", "amount": 900_000.0},
    "phases": [PHASE],
    "total": {name: PHASE[name] for name in ("steps", "sequences", "tokens", "flops", "minutes")},
    "evaluation_minutes": 11.7,
    "memory": MEMORY,
    "notes": ["time is an assumption"],
}


@pytest.fixture
def asked(monkeypatch):
    """The command of the stage, which answers with a made-up plan."""
    calls = []

    def run(command, **options):
        calls.append((command, read_yaml(Path(command[command.index("--params") + 1]))))
        return subprocess.CompletedProcess(command, 0, stdout=json.dumps(PLAN))

    monkeypatch.setattr(planning.subprocess, "run", run)
    return calls


def test_a_plan_that_fits_says_so_first_and_names_every_unit():
    lines = list(plan_lines(PLAN))
    assert lines[0] == "Fits: needs 7.0 of 22.5 GiB"
    assert "336 M parameters, vocabulary 30,528, bfloat16, on l4" in lines[1]
    text = "\n".join(lines)
    assert "CLOZE_MICRO_BATCH_SEQUENCES fits up to 255" in text
    assert "budget, set in steps: steps 9e+05 = tokens 2.95e+10 = flops 5.38e+19 = minutes" in text
    assert "1 d 13 h" in text
    assert "epochs" not in text
    assert "in all" not in text
    assert lines[-1] == "- time is an assumption"


def test_what_does_not_fit_is_said_first_with_what_would():
    memory = MEMORY | {"fits": False, "total_bytes": 40.0 * 2**30, "advice": ["fits: a thing"]}
    lines = list(plan_lines(PLAN | {"memory": memory, "processes": 2}))
    assert lines[0] == "DOES NOT FIT: needs 40.0 of 22.5 GiB for each process"
    assert lines[2] == "  fits: a thing"
    assert "fits up to" not in "\n".join(lines)


def test_several_phases_have_a_column_each_and_one_in_all():
    second = PHASE | {"max_seq_length": 512, "epochs": 1.25}
    lines = list(plan_lines(PLAN | {"phases": [PHASE, second]}))
    (head,) = [line for line in lines if line.startswith("phase")]
    assert head.split() == ["phase", "128", "tokens", "512", "tokens", "in", "all"]
    assert any(line.split() == ["epochs", "1.2"] for line in lines)


@pytest.mark.parametrize(
    ("minutes", "shown"),
    [
        (0.25, "15.0 s"),
        (12.34, "12.3 min"),
        (125.0, "2 h 5 min"),
        (3 * 1440 + 70, "3 d 1 h"),
        (2e6, "4 years"),
    ],
)
def test_durations_are_shown_in_their_largest_units(minutes, shown):
    assert planning._duration(minutes) == shown


def test_a_recipe_and_overrides_reach_the_stage_and_params_yaml_stays(workspace, asked):
    before = (workspace / "params.yaml").read_text()
    text = plan_training(workspace, "electra-small", [parse_assignment("pretraining.seed=7")], "l4")
    assert text.startswith("Fits: ")
    ((command, values),) = asked
    assert command[-2:] == ["--machine", "l4"]
    assert values["pretraining"]["objective"] == "electra"
    assert values["pretraining"]["seed"] == 7
    assert (workspace / "params.yaml").read_text() == before


@pytest.mark.slow
def test_artefacts_count_where_the_lock_file_has_these_settings(workspace, asked):
    values = read_yaml(workspace / "params.yaml")
    names = ("tasks", "corpus", "tokenizer", "encoding", "masking")
    lock = {name: {"params": {"params.yaml": {name: values[name]}}} for name in names}
    with (workspace / "dvc.lock").open("w") as stream:
        YAML().dump({"schema": "2.0", "stages": lock}, stream)
    for name in ("tokenizer", "encoding", "masking"):
        (workspace / "artifacts" / name).mkdir(parents=True)
        (workspace / "artifacts" / name / "manifest.json").write_text("{}")

    def options(*assignments):
        plan_training(workspace, None, [parse_assignment(text) for text in assignments], None)
        return [word for word in asked[-1][0] if word.startswith("--")][1:]

    assert options() == ["--encoding", "--masking", "--tokenizer"]
    assert options("pretraining.seed=9") == ["--encoding", "--masking", "--tokenizer"]
    assert options("masking.seed=9") == ["--encoding", "--tokenizer"]
    assert options("corpus.shard_size_bytes=5") == []
    shutil.rmtree(workspace / "artifacts" / "tokenizer")
    assert options() == ["--encoding", "--masking"]


def test_bad_settings_are_refused_and_the_stages_exit_code_is_kept(workspace, asked, monkeypatch):
    with pytest.raises(SettingsError, match="did you mean 'seed'"):
        plan_training(workspace, None, [parse_assignment("pretraining.sead=7")], None)
    with pytest.raises(SettingsError, match="not found"):
        plan_training(workspace, "bert-huge", [], None)
    assert asked == []
    failed = subprocess.CompletedProcess([], 2, stdout="")
    monkeypatch.setattr(planning.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(StageError) as caught:
        plan_training(workspace, None, [], "b9000")
    assert caught.value.exit_code == 2


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "pipelines", "plan", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_bad_settings_exit_with_two():
    result = command("--set", "pretraining.learning_rate=7")
    assert result.returncode == 2
    assert "pretraining.learning_rate is 7" in result.stderr


@pytest.mark.slow
def test_a_recipe_of_a_large_model_is_planned_for_a_named_machine_without_artefacts():
    result = command("--recipe", "bert-large", "--machine", "l4")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("DOES NOT FIT: needs ")
    assert "fits: CLOZE_MICRO_BATCH_SEQUENCES=16" in result.stdout
    assert "full sequences are assumed" in result.stdout
