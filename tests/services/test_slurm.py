"""Pre-training as a job of a real Slurm of two nodes: the numbers, kills, requeue and cancel."""

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from stages.core.artifacts import content_hash
from tests.golden.curves import write_artefacts
from tests.services.slurm import running_slurm
from tests.unit.pretraining.attempts import Attempt
from tests.unit.pretraining.test_durability import events, require_like
from tests.unit.pretraining.test_objectives_run import settings_of
from tests.unit.pretraining.test_run import Stage, steps

pytestmark = pytest.mark.services
SETTINGS = settings_of("bert", budget=steps(150), learning_rate=1e-4, eval_interval_steps=25)
TWO_NODES = {
    "CLOZE_LAUNCHER": "slurm",
    "CLOZE_NODES": "2",
    "CLOZE_POLL_SECONDS": "0.2",
    "CLOZE_CHECKPOINT_INTERVAL_STEPS": "5",
    "CLOZE_LOG_INTERVAL_STEPS": "1",
}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with running_slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory):
    root = tmp_path_factory.mktemp("artefacts")
    write_artefacts(root, "bert")
    return root


@pytest.fixture(scope="module")
def quiet(artefacts, tmp_path_factory):
    """One process of this machine, without Slurm."""
    return Stage(artefacts, tmp_path_factory.mktemp("quiet")).finished_here(SETTINGS)


@pytest.fixture(scope="module")
def undisturbed(artefacts, tmp_path_factory, slurm):
    """A job over two nodes that nobody disturbs."""
    stage = Stage(artefacts, tmp_path_factory.mktemp("undisturbed"))
    return stage.finished(SETTINGS, **TWO_NODES, **slurm.environment)


@pytest.fixture
def begin(artefacts, tmp_path, slurm):
    """Starts the stage as a job over two nodes; called again, it is another process's turn."""
    stage = Stage(artefacts, tmp_path)
    attempts = []

    def start(settings=SETTINGS, **variables):
        attempts.append(Attempt(stage, settings, **TWO_NODES, **slurm.environment, **variables))
        return attempts[-1]

    yield start
    for attempt in attempts:
        attempt.kill()


def record(stage):
    (path,) = stage.state.glob("checkpoints/*/job.json")
    return json.loads(path.read_text())


def logged_steps(stage):
    """How often the journal has the training's numbers of each step."""
    lines = [event for event in events(stage) if event["event"] == "metrics"]
    return Counter(line["step"] for line in lines if "loss" in line["values"])


def processes_of(stage):
    """Command lines of the processes that work on this stage's state."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            environment = (place / "environ").read_bytes()
            command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"CLOZE_STATE={stage.state}".encode() in environment.split(b"\0") and command:
            found.append(command)
    return found


def at_a_checkpoint(begin) -> tuple[Attempt, str]:
    """A submitter whose job has written a checkpoint, and the job's id."""
    first = begin()
    assert first.wait_for_checkpoint(), first.text[-3000:]
    return first, record(first.stage)["id"]


def test_two_nodes_train_like_one_process(undisturbed, quiet):
    require_like(undisturbed, quiet)


@pytest.mark.soak  # by a killed worker and its retry instead: tests/services/test_flows.py
def test_a_killed_submitter_leaves_its_job_alone_and_the_next_one_attaches(
    begin, undisturbed, slurm
):
    first, job = at_a_checkpoint(begin)
    stage = first.stage
    assert first.kill()
    assert slurm.facts(job)["JobState"] == "RUNNING"
    second = begin()
    assert second.finish() == 0, second.text[-3000:]
    assert f"attached job={job}" in second.text
    assert "resumed step=" not in first.text + second.text
    assert logged_steps(stage) == dict.fromkeys(range(1, 151), 1)
    assert record(stage)["attempt"] == 1
    assert slurm.facts(job)["Restarts"] == "0"
    assert content_hash(stage.folder / "out") == content_hash(undisturbed.folder / "out")


def test_a_job_that_is_queued_again_goes_on_from_its_checkpoint(begin, undisturbed, slurm):
    first, job = at_a_checkpoint(begin)
    slurm.ask("scontrol", "requeue", job)
    assert first.wait_until(lambda: "resumed step=" in first.text), first.text[-3000:]
    assert slurm.facts(job)["Restarts"] == "1"
    assert first.finish() == 0, first.text[-3000:]
    assert record(first.stage)["attempt"] == 1
    require_like(first.stage, undisturbed)


@pytest.mark.soak
def test_a_job_that_is_cancelled_saves_a_checkpoint_and_the_next_goes_on(begin, undisturbed, slurm):
    first, _ = at_a_checkpoint(begin)
    stage = first.stage
    os.kill(first.process.pid, signal.SIGTERM)
    assert first.finish() == 143, first.text[-3000:]
    assert first.text.count("stopped by a signal at step") >= 1
    assert slurm.queue() == []
    assert processes_of(stage) == []
    newest = int(stage.checkpoints[-1].name.removeprefix("step-"))
    second = begin()
    assert second.finish() == 0, second.text[-3000:]
    assert f"resumed step={newest} " in second.text
    assert record(stage)["attempt"] == 2
    require_like(stage, undisturbed)


@pytest.mark.soak
def test_a_job_gives_its_nodes_to_one_of_a_higher_partition_and_goes_on(begin, undisturbed, slurm):
    first, job = at_a_checkpoint(begin)
    urgent = ["--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null"]
    slurm.ask("sbatch", *urgent, "--wrap=sleep 1")
    assert first.wait_until(lambda: "resumed step=" in first.text), first.text[-3000:]
    assert slurm.facts(job)["Restarts"] == "1"
    assert first.finish() == 0, first.text[-3000:]
    assert logged_steps(first.stage) == dict.fromkeys(range(1, 151), 1)  # it had notice to save
    require_like(first.stage, undisturbed)


@pytest.mark.soak
def test_a_job_queues_itself_again_before_its_time_is_up(begin, slurm):
    """It wants three minutes, on any machine, and of its five three are kept for saving."""
    budget = {"unit": "minutes", "amount": 3}
    long = {**SETTINGS, "budget": budget, "eval_interval_steps": 1000}
    first = begin(long, CLOZE_SLURM_TIME="5")
    assert first.wait_until(lambda: "resumed step=" in first.text), first.text[-3000:]
    assert "queued again" in first.text
    job = record(first.stage)["id"]
    assert first.finish() == 0, first.text[-3000:]
    assert int(slurm.facts(job)["Restarts"]) >= 1
    logged = logged_steps(first.stage)
    assert logged == dict.fromkeys(range(1, max(logged) + 1), 1)
