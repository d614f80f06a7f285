"""A job is submitted once, attached to later, cancelled behind a checkpoint, and its code kept.

The cluster is a stand-in whose answers a test writes down; real ones are in tests/services.
"""

import os
import signal

import pytest

from stages.core.artifacts import read_json, write_json, write_manifest
from stages.core.errors import SettingsError
from stages.pretraining.launchers import following
from stages.pretraining.launchers.cluster import ClusterError, Job
from stages.pretraining.launchers.torchrun import Shape

OUTAGE = ClusterError("scontrol: Unable to contact slurm controller")


def answered(answer):
    """What a cluster says, or the error that it raises."""
    if isinstance(answer, Exception):
        raise answer
    return answer


class Scripted:
    """A cluster whose jobs stand where `states` says, the last one for ever."""

    name = "scripted"

    def __init__(self, *states, code=None, known=None, answer=None):
        self.states, self.code, self.known, self.answer = list(states), code, known, answer
        self.submitted, self.cancelled, self.text = [], [], ["old\n", "new\n"]

    def submit(self, job):
        self.submitted.append(job.name)
        self.job = job
        return answered(self.answer or f"id-{len(self.submitted)}")

    def attach(self, job):
        known = self.known
        return answered(known.get(job.name) if isinstance(known, dict) else known)

    def poll(self, job_id):
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return answered(state() if callable(state) else state)

    def logs(self, job, job_id):
        if self.code is not None:
            job.code.write_text(f"{self.code}\n")
        return self.text.pop(0) if self.text else ""

    def cancel(self, job_id, *, at_once):
        self.cancelled.append(at_once)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(following, "_SETTLE_SECONDS", 0.0)


@pytest.fixture
def train(tmp_path):
    """Follow a training with a cluster; `out` beside the checkpoints gets the export."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()

    def run(cluster):
        out = tmp_path / "out"
        return following.train(
            cluster, lambda n: Job(f"key-{n}", folder, [], Shape(1, 1)), out, poll=0.01
        )

    return run


def write_export(folder):
    (folder / "export").mkdir()
    (folder / "export" / "weights").write_text("w")
    write_manifest(folder / "export", "pretraining", {})


def note(folder, **facts):
    write_json(folder / "job.json", {"launcher": "scripted", "attempt": 1, "name": "key-1"} | facts)


def test_a_job_is_submitted_and_its_log_shown_and_its_export_taken(train, tmp_path, capsys):
    write_export(tmp_path / "checkpoints")
    cluster = Scripted("waiting", "running", "over", code=0)
    assert train(cluster) == 0
    assert cluster.submitted == ["key-1"]
    assert "old\nnew\n" in capsys.readouterr().err
    assert (tmp_path / "out" / "weights").read_text() == "w"
    facts = read_json(tmp_path / "checkpoints" / "job.json")
    assert facts == {"launcher": "scripted", "name": "key-1", "attempt": 1, "id": "id-1"}


def test_who_comes_second_attaches_by_the_id_and_reads_on(train, tmp_path, capsys):
    write_export(tmp_path / "checkpoints")
    note(tmp_path / "checkpoints", id="id-7")
    cluster = Scripted("running", "running", "over", code=0)
    assert train(cluster) == 0
    assert cluster.submitted == []
    shown = capsys.readouterr().err
    assert "new\n" in shown
    assert "old\n" not in shown


def test_a_job_whose_id_could_not_be_noted_any_more_is_found_by_its_name(train, tmp_path):
    note(tmp_path / "checkpoints")
    cluster = Scripted("running", "over", code=3, known="id-9")
    assert train(cluster) == 3
    assert cluster.submitted == []


def test_the_result_of_a_job_that_nobody_waited_for_is_taken_without_another(train, tmp_path):
    folder = tmp_path / "checkpoints"
    write_export(folder)
    note(folder, id="id-1")
    (folder / "key-1.code").write_text("0\n")
    cluster = Scripted("over")
    assert train(cluster) == 0
    assert cluster.submitted == []
    assert (tmp_path / "out" / "weights").read_text() == "w"


@pytest.mark.parametrize("code", ["3", "143", ""])
def test_a_job_that_failed_is_followed_by_another_attempt(train, tmp_path, code):
    folder = tmp_path / "checkpoints"
    note(folder, id="id-1")
    if code:
        (folder / "key-1.code").write_text(f"{code}\n")
    cluster = Scripted("over", "running", "over", code=2)
    assert train(cluster) == 2
    assert cluster.submitted == ["key-2"]


def test_a_damaged_export_is_made_again(train, tmp_path, caplog):
    folder = tmp_path / "checkpoints"
    write_export(folder)
    (folder / "export" / "weights").write_text("x")
    note(folder, id="id-1")
    (folder / "key-1.code").write_text("0\n")
    cluster = Scripted("over", "over", code=3)
    assert train(cluster) == 3
    assert cluster.submitted == ["key-2"]
    assert "made again" in caplog.text


def test_a_job_that_left_no_code_has_failed(train, caplog):
    assert train(Scripted("running", "over")) == 1
    assert "left no exit code" in caplog.text


def test_a_signal_cancels_the_job_and_waits_for_its_end(train):
    def told():
        os.kill(os.getpid(), signal.SIGTERM)
        return "running"

    cluster = Scripted("waiting", told, "running", "running", "over", code=143)
    before = signal.getsignal(signal.SIGTERM)
    assert train(cluster) == 143
    assert cluster.cancelled
    assert not any(cluster.cancelled)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_job_that_does_not_end_is_ended_without_a_checkpoint(train, monkeypatch):
    def told():
        os.kill(os.getpid(), signal.SIGINT)
        return "running"

    monkeypatch.setattr(following, "GRACE_SECONDS", -1000)
    cluster = Scripted("waiting", told, "running", "running", "over")
    assert train(cluster) == 143
    assert cluster.cancelled[-1]


def test_a_cluster_that_does_not_answer_is_asked_again(train, caplog):
    cluster = Scripted("running", ClusterError("scontrol: no answer"), "over", code=3)
    assert train(cluster) == 3
    assert "scontrol: no answer" in caplog.text


def test_a_submission_whose_answer_was_lost_is_found_by_the_next_try(train):
    lost = Scripted("running", answer=OUTAGE)
    with pytest.raises(ClusterError) as caught:
        train(lost)
    assert caught.value.exit_code == 4  # flows try again: 2 and 3 alone are lasting faults
    again = Scripted("running", "over", code=3, known="id-1")
    assert train(again) == 3
    assert (lost.submitted, again.submitted) == (["key-1"], [])


@pytest.mark.parametrize(
    ("noted", "cluster"),
    [({"id": "id-1"}, Scripted(OUTAGE)), ({}, Scripted("over", known=OUTAGE))],
)
def test_an_outage_while_attaching_is_not_the_end_of_the_job(train, tmp_path, noted, cluster):
    note(tmp_path / "checkpoints", **noted)
    before = read_json(tmp_path / "checkpoints" / "job.json")
    with pytest.raises(ClusterError, match="Unable to contact"):
        train(cluster)
    assert cluster.submitted == []
    assert read_json(tmp_path / "checkpoints" / "job.json") == before


DAMAGED = pytest.mark.parametrize("record", ["", '{"launcher": "scr', "[]", "{}"])


@DAMAGED
@pytest.mark.parametrize("newest", ["key-2", "key-3"])  # which runs, or waits without a log
def test_a_damaged_record_is_made_up_for_by_the_jobs_name(train, tmp_path, caplog, record, newest):
    folder = tmp_path / "checkpoints"
    (folder / "job.json").write_text(record)
    (folder / "key-1.code").write_text("143\n")
    (folder / "key-2.log").touch()
    cluster = Scripted("running", "over", known={newest: "id-7"})
    assert train(cluster) == 1
    assert cluster.submitted == []
    assert f"{newest}: the job is over" in caplog.text
    assert f"{folder / 'job.json'}: " in caplog.text
    assert "run its stage again" not in caplog.text


@DAMAGED
def test_behind_a_damaged_record_the_next_attempt_has_a_name_of_its_own(train, tmp_path, record):
    folder = tmp_path / "checkpoints"
    (folder / "job.json").write_text(record)
    (folder / "key-2.code").write_text("143\n")
    cluster = Scripted("over", code=3)
    assert train(cluster) == 3
    assert cluster.submitted == ["key-3"]
    assert read_json(folder / "job.json")["attempt"] == 3


def test_the_job_of_another_launcher_is_not_doubled(train, tmp_path):
    note(tmp_path / "checkpoints", id="12", launcher="slurm")
    with pytest.raises(SettingsError, match="names the job key-1 of 'slurm'; set that launcher"):
        train(Scripted("over"))
    (tmp_path / "checkpoints" / "key-1.code").write_text("143\n")
    assert train(Scripted("over", code=3)) == 3
