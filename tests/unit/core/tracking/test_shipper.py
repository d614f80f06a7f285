"""Delivery and shipper together, against a real store."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import TrackingError
from stages.core.fingerprint import REPOSITORY
from stages.core.tracking import ledger
from stages.core.tracking import shipper as shipper_module
from stages.core.tracking.journal import RunJournal
from stages.core.tracking.ledger import ledger_folder
from stages.core.tracking.shipper import Shipper, flush, ship_in_background
from stages.core.tracking.store import TrackingStore, connect, tracking_uri
from tests.mlflow_server import MlflowServer

pytestmark = pytest.mark.slow

GONE = 4_000_000  # beyond the kernel's largest process id


def _end(journal: RunJournal, status: str = "FINISHED", **tags: str) -> None:
    journal.append("end", status=status, tags=tags, pid=os.getpid())


def _points(store: TrackingStore, run: Any, metric: str) -> list[tuple[int, float]]:
    history = store.client.get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in history)


def _training(key: str = "pretraining-1") -> RunJournal:
    journal = RunJournal(key)
    journal.start("pretraining", params={"model": {"size": "tiny"}}, tags={"input.x": "aaa"})
    for step in range(3):
        journal.metrics({"loss": 3.0 - step}, step)
    journal.checkpoint(Path("/checkpoints/2"), 2, {"loss": 1.0}, "ccc.dir")
    return journal


def test_a_run_arrives_with_its_facts_below_its_parent(mlflow_state: Path) -> None:
    parent = RunJournal("flow")
    parent.start("pipeline", params={}, tags={})
    child = RunJournal("a-finetuning")  # sorts before its parent
    child.start("finetuning", item="RTE", parent="flow", params={"a": {"b": 1}}, tags={"t": "x"})
    child.metrics({"loss/train%": 0.5, "../odd//name": 1.0}, 4)
    attached = mlflow_state / "note.txt"
    attached.write_text("hello")
    child.artifact(attached)
    child.artifact(mlflow_state / "gone.txt")
    child.tags({"late": "yes"})
    _end(child, **{"output.out": "fff.dir"})
    _end(parent)
    flush()
    store = connect()
    run, above = store.find_run("a-finetuning"), store.find_run("flow")
    assert run is not None
    assert above is not None
    assert (run.info.run_name, run.info.status) == ("finetuning@RTE", "FINISHED")
    assert (above.info.run_name, above.info.status) == ("pipeline", "FINISHED")
    assert run.data.params == {"a.b": "1"}
    assert run.data.metrics == {"loss/train_": 0.5, "odd/name": 1.0}
    tags = run.data.tags
    assert tags["mlflow.parentRunId"] == above.info.run_id
    assert (tags["t"], tags["late"], tags["cloze.stage"]) == ("x", "yes", "finetuning")
    found = store.find_producer("fff.dir")
    assert found is not None
    assert found.info.run_id == run.info.run_id
    assert store.find_producer("eee.dir") is None
    files = [file.path for file in store.client.list_artifacts(run.info.run_id)]
    assert files == ["note.txt"]
    assert str(mlflow_state / "mlflow" / "artifacts") in run.info.artifact_uri


def test_a_step_that_a_resumed_training_repeats_keeps_its_first_value(mlflow_state: Path) -> None:
    journal = _training()
    flush()
    journal.start("pretraining", params={"model": {"size": "mini"}, "new": 1}, tags={})
    for step in range(1, 5):
        journal.metrics({"loss": 10.0 + step}, step)
    _end(journal)
    flush()
    store = connect()
    run = store.find_run("pretraining-1")
    assert run is not None
    assert _points(store, run, "loss") == [(0, 3.0), (1, 2.0), (2, 1.0), (3, 13.0), (4, 14.0)]
    assert run.data.params == {"model.size": "tiny", "new": "1"}
    assert run.data.tags["cloze.changed_params"] == "model.size=mini"


@pytest.mark.parametrize("is_ledger_lost", [False, True])
def test_steps_that_are_trained_again_are_named_once(
    mlflow_state: Path, is_ledger_lost: bool
) -> None:
    journal = _training()
    assert list(journal.rolled_back(0)) == [1, 2]
    journal.metrics({"loss": 5.0}, 1)
    assert list(journal.rolled_back(1)) == []
    journal.metrics({"loss": 6.0}, 2)
    journal.metrics({"loss": 7.0}, 3)
    assert list(journal.rolled_back(2)) == [3]
    for _ in range(2):
        flush()
        if is_ledger_lost:
            shutil.rmtree(ledger_folder(mlflow_state / "journal", tracking_uri()))
    store = connect()
    run = store.find_run("pretraining-1")
    assert run is not None
    assert run.data.tags["cloze.superseded_steps"] == "1-2, 3-3"
    assert _points(store, run, "loss") == [(0, 3.0), (1, 2.0), (2, 1.0), (3, 7.0)]


@pytest.mark.parametrize("is_ledger_lost", [False, True])
def test_a_crash_before_the_ledger_is_written_doubles_nothing(
    mlflow_state: Path, is_ledger_lost: bool
) -> None:
    journal = _training()
    flush()
    folder = ledger_folder(mlflow_state / "journal", tracking_uri())
    before = shutil.copytree(folder, mlflow_state / "before")
    journal.metrics({"loss": 0.5}, 3)
    journal.checkpoint(Path("/checkpoints/3"), 3, {"loss": 0.5, "accuracy": 0.1}, "ddd.dir")
    _end(journal)
    flush()
    shutil.rmtree(folder)
    if not is_ledger_lost:
        before.rename(folder)
    flush()
    store = connect()
    (run,) = store.client.search_runs([store.experiment_id])
    assert _points(store, run, "loss") == [(0, 3.0), (1, 2.0), (2, 1.0), (3, 0.5)]
    assert _points(store, run, "accuracy") == [(3, 0.1)]
    assert len(store.client.search_logged_models([store.experiment_id])) == 2
    assert run.info.status == "FINISHED"


class Clock:
    """Time as the shipper sees it: each pause takes a second, and lets another shipper work."""

    def __init__(self, work: Any) -> None:
        self.now, self.work = 0.0, work

    def monotonic(self) -> float:
        return self.now

    def sleep(self, _seconds: float) -> None:
        self.now += 1.0
        self.work()


@contextmanager
def _not_ours(_journals: Path) -> Iterator[bool]:
    yield False


def test_waiting_for_another_shipper_lasts_as_long_as_it_gets_on(
    mlflow_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_BLOCK_BYTES", 200)
    journal = _training()
    for step in range(3, 20):
        journal.metrics({"loss": 1.0}, step)
    other = Shipper(mlflow_state / "journal")
    clock = Clock(other.ship)
    monkeypatch.setattr(shipper_module, "time", clock)
    monkeypatch.setattr(shipper_module, "_lock", _not_ours)
    flush(patience_seconds=2.5)
    assert clock.now > 2 * 2.5
    assert not other.ship()


def test_waiting_for_another_shipper_that_is_stuck_ends(
    mlflow_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _training()
    clock = Clock(lambda: None)
    monkeypatch.setattr(shipper_module, "time", clock)
    monkeypatch.setattr(shipper_module, "_lock", _not_ours)
    with pytest.raises(TrackingError, match=r"1 journals wait in .* another shipper has not"):
        flush(patience_seconds=2.5)
    assert clock.now < 5


def test_a_checkpoint_is_a_logged_model_until_it_is_pruned(mlflow_state: Path) -> None:
    journal = _training()
    journal.checkpoint(Path("/checkpoints/3"), 3, {"loss": 0.5}, "ddd.dir")
    flush()
    journal.pruned(Path("/checkpoints/2"))
    flush()
    store = connect()
    run = store.find_run("pretraining-1")
    assert run is not None
    models = {
        model.tags["cloze.step"]: model
        for model in store.client.search_logged_models([store.experiment_id])
    }
    assert models["2"].tags["cloze.content_hash"] == "ccc.dir"
    assert [(m.key, m.value, m.step) for m in models["3"].metrics] == [("loss", 0.5, 3)]
    assert {step: model.tags["cloze.pruned"] for step, model in models.items()} == {
        "2": "true",
        "3": "false",
    }
    assert {model.source_run_id for model in models.values()} == {run.info.run_id}
    assert sorted(output.step for output in run.outputs.model_outputs) == [2, 3]
    assert len(_points(store, run, "loss")) == 4  # a model's metric is no second point of the run


def test_more_points_than_one_call_may_carry_all_arrive(mlflow_state: Path) -> None:
    journal = RunJournal("long")
    journal.start("pretraining", params={}, tags={})
    for step in range(1100):
        journal.metrics({"loss": 1.0 / (step + 1), "rate": 0.1}, step)
    flush()
    store = connect()
    run = store.find_run("long")
    assert [step for step, _ in _points(store, run, "loss")] == list(range(1100))
    assert len(_points(store, run, "rate")) == 1100


def test_a_killed_run_is_told_from_a_live_one_and_can_be_resumed(mlflow_state: Path) -> None:
    killed, live = RunJournal("killed"), RunJournal("live")
    killed.start("pretraining", params={}, tags={}, pid=GONE)
    killed.metrics({"loss": 1.0}, 1)
    live.start("corpus", params={}, tags={})
    flush()
    store = connect()
    assert store.find_run("killed").info.status == "KILLED"  # type: ignore[union-attr]
    assert store.find_run("live").info.status == "RUNNING"  # type: ignore[union-attr]
    killed.start("pretraining", params={}, tags={})
    flush()
    assert store.find_run("killed").info.status == "RUNNING"  # type: ignore[union-attr]
    _end(killed)
    flush()
    assert store.find_run("killed").info.status == "FINISHED"  # type: ignore[union-attr]
    assert len(store.client.search_runs([store.experiment_id])) == 2


@pytest.mark.parametrize(
    ("children", "expected"),
    [(["FINISHED"], "FINISHED"), (["FAILED", "KILLED"], "FAILED"), (["KILLED"], "KILLED")],
)
def test_the_run_of_a_dvc_process_ends_with_it_as_badly_as_its_stages(
    mlflow_state: Path, children: list[str], expected: str
) -> None:
    RunJournal("dvc-1").start("pipeline", params={}, tags={}, pid=GONE, is_watched=True)
    for number, status in enumerate(children):
        child = RunJournal(f"corpus-{number}")
        child.start("corpus", parent="dvc-1", params={}, tags={})
        _end(child, status)
    late = RunJournal("late")
    late.start("masking", parent="dvc-1", params={}, tags={})
    flush()
    store = connect()
    parent = store.find_run("dvc-1")
    assert parent is not None
    assert parent.info.status == "RUNNING"  # an orphaned stage still works
    _end(late)
    flush()
    assert store.find_run("dvc-1").info.status == expected  # type: ignore[union-attr]


def test_an_unreachable_server_costs_no_event(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    journal = _training()
    with pytest.raises(TrackingError, match=r"1 journals wait in .*start the server") as caught:
        flush(patience_seconds=0)
    assert "http://user:***@127.0.0.1:9" in str(caught.value)
    assert "secret" not in str(caught.value).partition(" cannot be opened")[0]
    assert Shipper(state / "journal").ledger.unshipped() == [journal.key]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {
        "PASS": 0.01,
        "IDLE": 0.05,
        "OUTAGE": 0.1,
        "_LONGEST_PAUSE": 0.02,
    }.items():
        monkeypatch.setattr(shipper_module, f"{name}_SECONDS", seconds)


def test_the_shipper_ends_when_all_is_over(mlflow_state: Path, quick: None) -> None:
    journal = _training()
    _end(journal)
    ship_in_background(mlflow_state / "journal")
    assert connect().find_run(journal.key).info.status == "FINISHED"  # type: ignore[union-attr]


def test_the_shipper_gives_up_an_outage_once_no_run_is_live(
    state: Path, quick: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    journal = _training()
    _end(journal)
    ship_in_background(state / "journal")
    assert "nothing is lost" in caplog.text
    assert Shipper(state / "journal").ledger.unshipped() == [journal.key]


def test_the_shipper_stays_while_a_stage_lives(mlflow_state: Path, quick: None) -> None:
    command = (
        "import os, time; from stages.core.tracking.journal import RunJournal\n"
        "journal = RunJournal('stage')\n"
        "journal.start('corpus', params={}, tags={}); print(flush=True); time.sleep(0.6)\n"
        "journal.append('end', status='FINISHED', tags={}, pid=os.getpid())\n"
    )
    stage = subprocess.Popen(
        [sys.executable, "-c", command], cwd=REPOSITORY, stdout=subprocess.PIPE
    )
    assert stage.stdout is not None
    stage.stdout.readline()
    ship_in_background(mlflow_state / "journal")
    assert connect().find_run("stage").info.status == "FINISHED"  # type: ignore[union-attr]
    stage.wait()


def test_a_second_shipper_ends_at_once(state: Path) -> None:
    journals = state / "journal"
    _training()
    folder = ledger_folder(journals, tracking_uri())
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        command = [sys.executable, "-m", "stages.core.tracking.shipper"]
        subprocess.run(command, cwd=REPOSITORY, check=True, timeout=60)  # a bound: it does not wait
    assert not (state / "mlflow").exists()


def test_the_shipper_ends_when_its_journal_is_deleted(mlflow_state: Path, quick: None) -> None:
    journal = RunJournal("live")
    journal.start("corpus", params={}, tags={})
    shutil.rmtree(mlflow_state / "journal")
    ship_in_background(mlflow_state / "journal")
    assert not journal.path.exists()


@pytest.fixture
def server(mlflow_state: Path) -> Iterator[MlflowServer]:
    server = MlflowServer(mlflow_state, tracking_uri())
    yield server
    server.stop()


@pytest.mark.slow
def test_what_was_written_during_an_outage_is_complete_afterwards(
    mlflow_state: Path, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    journal = _training()
    flush()
    server.stop()
    for step in range(3, 50):
        journal.metrics({"loss": 1.0 / step}, step)
    journal.checkpoint(Path("/checkpoints/49"), 49, {"loss": 1.0 / 49}, "eee.dir")
    note = mlflow_state / "note.txt"
    note.write_text("hello")
    journal.artifact(note)
    with pytest.raises(TrackingError, match="nothing is lost"):
        flush(patience_seconds=0)
    _end(journal)
    server.start()
    flush(patience_seconds=60)
    store = connect()
    (run,) = store.client.search_runs([store.experiment_id])
    assert [step for step, _ in _points(store, run, "loss")] == list(range(50))
    assert run.info.status == "FINISHED"
    assert len(store.client.search_logged_models([store.experiment_id])) == 2
    assert [file.path for file in store.client.list_artifacts(run.info.run_id)] == ["note.txt"]
    lines = journal.path.read_text().splitlines()
    assert json.loads(lines[-1])["event"] == "end"


def test_a_journal_whose_start_was_lost_is_passed_over_and_holds_up_no_other(
    mlflow_state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    RunJournal("a-headless").metrics({"loss": 1.0}, 1)  # a full disk took the line before
    _end(_training("b-whole"))
    flush()
    store = connect()
    assert store.find_run("b-whole") is not None
    assert store.find_run("a-headless") is None
    assert "run a-headless: metrics before its start, dropped" in caplog.text


def _refused(*_: Any) -> None:
    raise ModuleNotFoundError("No module named 'boto3'")  # as MLflow lets it through


@pytest.fixture
def untaken(mlflow_state: Path, monkeypatch: pytest.MonkeyPatch) -> RunJournal:
    """A journal that sorts first, whose artefact the store does not take until `undo`."""
    journal = _training("a-untaken")
    (mlflow_state / "note.txt").write_text("hello")
    journal.artifact(mlflow_state / "note.txt")
    _end(journal)
    monkeypatch.setattr("mlflow.MlflowClient.log_artifact", _refused)
    return journal


def test_a_journal_that_cannot_be_shipped_holds_up_no_other_and_arrives_once_it_can(
    untaken: RunJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_BLOCK_BYTES", 200)
    _end(_training("b-sound"))
    expected = r"1 journals wait in .* the journal a-untaken: ModuleNotFoundError: .*'boto3'"
    with pytest.raises(TrackingError, match=expected):
        flush(patience_seconds=0)
    store = connect()
    assert store.find_run("b-sound").info.status == "FINISHED"  # type: ignore[union-attr]
    monkeypatch.setattr("mlflow.MlflowClient.log_artifact", lambda *_: None)
    flush()
    run = store.find_run("a-untaken")
    assert run is not None
    assert run.info.status == "FINISHED"
    assert _points(store, run, "loss") == [(0, 3.0), (1, 2.0), (2, 1.0)]


def test_the_shipper_lives_on_when_a_journal_cannot_be_shipped(
    untaken: RunJournal, mlflow_state: Path, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    _end(_training("b-sound"))
    ship_in_background(mlflow_state / "journal")
    assert "does not take the journal a-untaken" in caplog.text
    assert Shipper(mlflow_state / "journal").ledger.unshipped() == [untaken.key]


def test_a_watched_run_is_not_closed_before_a_run_below_it_that_cannot_be_shipped(
    mlflow_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunJournal("dvc-1").start("pipeline", params={}, tags={}, pid=GONE, is_watched=True)
    child = RunJournal("a-child")
    child.start("corpus", parent="dvc-1", params={}, tags={})
    child.artifact(Path(__file__))
    _end(child, "FAILED")
    monkeypatch.setattr("mlflow.MlflowClient.log_artifact", _refused)
    with pytest.raises(TrackingError, match="a-child"):
        flush(patience_seconds=0)
    store = connect()
    assert store.find_run("dvc-1").info.status == "RUNNING"  # type: ignore[union-attr]
    monkeypatch.setattr("mlflow.MlflowClient.log_artifact", lambda *_: None)
    flush()
    assert store.find_run("dvc-1").info.status == "FAILED"  # type: ignore[union-attr]


def test_a_server_that_goes_down_is_waited_for_once_a_pass(
    mlflow_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in "abc":
        _training(key)
    shipper = Shipper(mlflow_state / "journal")
    tried: list[str] = []

    def lost(delivery: Any, _events: Any) -> None:
        tried.append(delivery.entry.key)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        raise ConnectionError("reset by peer")

    monkeypatch.setattr("stages.core.tracking.delivery.RunDelivery.deliver", lost)
    with pytest.raises(TrackingError, match="cannot be opened"):
        shipper.ship()
    assert tried == ["a"]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(TrackingError, match="cannot be opened"):
        shipper.ship()
    assert tried == ["a", "b"]
