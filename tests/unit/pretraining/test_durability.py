"""A training that is killed, stopped or spread over other processes ends like a quiet one."""

import json
import os
import random
import signal
import time

import pytest
import torch

from stages.core.artifacts import content_hash
from stages.core.errors import SettingsError
from stages.pretraining import worker
from tests.golden.curves import write_artefacts
from tests.unit.pretraining.attempts import MOMENTS, Attempt
from tests.unit.pretraining.test_objectives_run import settings_of
from tests.unit.pretraining.test_run import Stage, steps

pytestmark = pytest.mark.slow
SETTINGS = settings_of("bert", budget=steps(150), learning_rate=1e-4, eval_interval_steps=25)
OFTEN = {"CLOZE_CHECKPOINT_INTERVAL_STEPS": "5", "CLOZE_LOG_INTERVAL_STEPS": "1"}


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory):
    root = tmp_path_factory.mktemp("durability")
    write_artefacts(root, "bert")
    return root


@pytest.fixture(scope="module")
def quiet(artefacts, tmp_path_factory):
    """One process, the whole global batch in one piece, never interrupted."""
    return Stage(artefacts, tmp_path_factory.mktemp("quiet")).finished_here(SETTINGS)


@pytest.fixture
def stage(artefacts, tmp_path):
    return Stage(artefacts, tmp_path)


def require_like(stage, quiet):
    """The same weights and losses within the rounding of other sums."""
    assert stage.weights.keys() == quiet.weights.keys()
    for name, weight in quiet.weights.items():
        assert (weight - stage.weights[name]).abs().max() < 2e-5, name
    curves = [json.loads((s.folder / "out" / "curve.json").read_text()) for s in (stage, quiet)]
    assert len(curves[0]) == 6
    for mine, theirs in zip(*curves, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5, abs=2e-5)


def events(stage):
    (journal,) = stage.state.glob("journal/*.jsonl")
    return [json.loads(line) for line in journal.read_text().splitlines()]


def test_kills_while_starting_training_and_writing_change_no_byte(stage, quiet):
    draw = random.Random(0)
    for moment in MOMENTS:
        attempt = Attempt(stage, SETTINGS, **OFTEN)
        assert attempt.kill_while(moment, draw), (moment, attempt.text[-3000:])
    result = stage.run(SETTINGS, **OFTEN)
    assert result.returncode == 0, result.stderr
    assert "resumed step=" in result.stderr
    assert not attempt.written_in_part()
    assert content_hash(stage.folder / "out") == content_hash(quiet.folder / "out")


def test_four_processes_give_the_losses_and_weights_of_one(stage, quiet):
    """The curve is that of one process; accumulation as well: two sequences in four pieces."""
    result = stage.run_here(SETTINGS, CLOZE_PROCESSES="4", CLOZE_MICRO_BATCH_SEQUENCES="1")
    assert result.returncode == 0, result.stderr
    require_like(stage, quiet)


def test_two_ranks_survive_three_kills_of_three_and_sigterm_and_one_process_goes_on(stage, quiet):
    attempt = Attempt(stage, SETTINGS, CLOZE_PROCESSES="2", **OFTEN)
    for rank in (1, 0, 1):
        assert attempt.wait_for_checkpoint(), attempt.text[-3000:]
        os.kill(attempt.ranks()[rank], signal.SIGKILL)
    assert attempt.wait_for_checkpoint(), attempt.text[-3000:]
    assert attempt.text.count("resumed step=") == 3
    attempt.process.terminate()
    assert attempt.finish() == 143
    newest = int(stage.checkpoints[-1].name.removeprefix("step-"))
    assert attempt.text.count(f"stopped by a signal at step {newest}; run again to go on") == 1
    assert "SignalException" not in attempt.text
    end = events(stage)[-1]
    assert (end["event"], end["status"]) == ("end", "KILLED")
    result = stage.run_here(SETTINGS, **OFTEN)
    assert result.returncode == 0, result.stderr
    assert f"resumed step={newest} " in result.stderr
    require_like(stage, quiet)


def test_a_killed_launcher_takes_its_ranks_along(stage):
    attempt = Attempt(stage, SETTINGS, CLOZE_PROCESSES="2", **OFTEN)
    attempt.wait_for_checkpoint()
    assert sorted(attempt.ranks()) == [0, 1]
    attempt.kill()
    deadline = time.monotonic() + 10
    while attempt.ranks() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert attempt.ranks() == {}


def test_a_second_trainer_that_may_wait_takes_the_result_of_the_first(stage, artefacts, quiet):
    first = Attempt(stage, SETTINGS, **OFTEN)
    assert first.wait_for_checkpoint(), first.text[-3000:]
    other = Stage(artefacts, stage.folder / "other")
    other.folder.mkdir()
    other.state = stage.state
    second = other.run_here(SETTINGS, CLOZE_WAIT_FOR_TRAINER="1")
    assert second.returncode == 0, second.stderr
    assert first.finish() == 0, first.text[-3000:]
    assert "waiting for a trainer of the same process='pid " in second.stderr
    assert "resumed step=150 " in second.stderr
    for made in (stage, other):
        assert content_hash(made.folder / "out") == content_hash(quiet.folder / "out")


def test_an_error_that_would_come_again_ends_all_ranks_at_once(stage):
    result = stage.run(SETTINGS | {"objective": "roberta"}, CLOZE_PROCESSES="2")
    assert result.returncode == 3
    assert result.stderr.count("does not fit pretraining.objective 'roberta'") == 1
    assert "Traceback" not in result.stderr


def test_more_processes_than_sequences_are_refused_before_training(stage):
    result = stage.run(SETTINGS, CLOZE_PROCESSES="9")
    assert result.returncode == 2
    assert "CLOZE_PROCESSES is 9, expected at most 8: params.yaml: pretraining.phases.0." in (
        result.stderr
    )


def test_more_processes_than_devices_are_refused(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SettingsError, match="CLOZE_PROCESSES is 3, expected at most the 2 CUDA"):
        worker._require_devices()
