import errno
import json
import logging
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stages.core.artifacts import content_hash
from stages.core.tracking import journal as journal_module
from stages.core.tracking import lineage
from stages.core.tracking.journal import RunJournal, pipeline_run, tracked_run


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_half_a_line_of_a_killed_process_does_not_swallow_the_next_event(state: Path) -> None:
    journal = RunJournal("run")
    journal.path.parent.mkdir(parents=True)
    journal.path.write_bytes(b'{"event": "metrics", "ti')
    journal.metrics({"loss": 1.0}, step=3)
    assert json.loads(journal.path.read_text().splitlines()[1])["values"] == {"loss": 1.0}


def test_a_run_that_goes_on_knows_which_steps_it_had_logged(state: Path) -> None:
    journal = RunJournal("run")
    assert not journal.rolled_back(0)
    for step in (10, 20, 30):
        journal.metrics({"loss": 1.0}, step)
    journal.append("end", status="KILLED")
    with journal.path.open("ab") as stream:
        stream.write(b'{"event": "metrics", "step": 40, "val')
    journal = RunJournal("run")  # the next attempt's
    assert list(journal.rolled_back(30)) == []
    assert journal.rolled_back(20) == range(21, 31)
    told = json.loads(journal.path.read_text().splitlines()[-1])
    assert (told["event"], told["first"], told["last"]) == ("superseded", 21, 30)


def test_numbers_that_are_not_finite_are_left_out(state: Path) -> None:
    journal = RunJournal("run")
    journal.metrics({"loss": float("nan"), "norm": float("inf"), "rate": 0.5})
    assert _lines(journal.path)[0]["values"] == {"rate": 0.5}


def test_a_full_disk_is_told_once_and_stops_nothing(
    state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = RunJournal("run")

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with caplog.at_level(logging.WARNING), monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        journal.metrics({"loss": 1.0})
        journal.metrics({"loss": 2.0})
    journal.metrics({"loss": 3.0})
    assert [record.message for record in caplog.records] == [
        f"{journal.path}: [Errno 28] No space left on device; its events are not tracked"
    ]
    assert [line["values"]["loss"] for line in _lines(journal.path)] == [3.0]


def _closing(out: Path, fault: BaseException | None) -> dict[str, Any]:
    out.write_text("made")
    with tracked_run("corpus", params={}, inputs={}, outputs={"out": out}) as journal:
        if fault:
            raise fault
    return _lines(journal.path)[-1]


def test_a_finished_run_ends_with_the_content_hash_of_its_output(
    state: Path, tmp_path: Path
) -> None:
    end = _closing(tmp_path / "out", None)
    assert (end["event"], end["status"]) == ("end", "FINISHED")
    assert end["tags"] == {"output.out": content_hash(tmp_path / "out")}


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (ValueError("bad row 7"), "FAILED"),
        (SystemExit(3), "FAILED"),
        (SystemExit(143), "KILLED"),
        (KeyboardInterrupt(), "KILLED"),
    ],
)
def test_an_interrupted_run_says_how_it_ended(
    state: Path, tmp_path: Path, fault: BaseException, status: str
) -> None:
    with pytest.raises(type(fault)):
        _closing(tmp_path / "out", fault)
    (path,) = (state / "journal").glob("corpus-*.jsonl")
    end = _lines(path)[-1]
    assert end["status"] == status
    assert end["tags"] == (
        {"cloze.error": "ValueError: bad row 7"} if isinstance(fault, ValueError) else {}
    )


def test_stages_name_the_pipeline_run_and_the_flow_run_that_they_are_told(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOZE_FLOW_RUN_ID", "flow-7")
    with pipeline_run("train-7", params={"a": 1}, tags={}) as parent:
        monkeypatch.setenv("CLOZE_PIPELINE_RUN", "train-7")
        _closing(tmp_path / "out", None)
    (path,) = (state / "journal").glob("corpus-*.jsonl")
    start = _lines(path)[0]
    assert (start["parent"], start["tags"]["prefect.flow_run_id"]) == ("train-7", "flow-7")
    assert [line["event"] for line in _lines(parent.path)] == ["start", "end"]


def test_stages_that_begin_side_by_side_share_one_parent(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = lineage.DvcProcess(os.getpid(), "dvc-1-2", "dvc repro")
    monkeypatch.setattr(lineage, "dvc_process", lambda: process)
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: journal_module._open_parent(), range(8)))
    assert keys == ["dvc-1-2"] * 8
    starts = _lines(state / "journal" / "dvc-1-2.jsonl")
    assert {line["event"] for line in starts} == {"start"}
    before = len(starts)
    assert journal_module._open_parent() == "dvc-1-2"
    assert len(_lines(state / "journal" / "dvc-1-2.jsonl")) == before


def test_no_shipper_is_started_when_tracking_is_off(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **_: started.append(args))
    journal_module.ensure_shipper()
    assert started == []
    monkeypatch.delenv("CLOZE_TRACKING")
    journal_module.ensure_shipper()
    assert len(started) == 1
