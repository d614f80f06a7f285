import os
import socket
from pathlib import Path
from typing import Any

import pytest

from stages.core.tracking.ledger import Entry, Ledger, read_events
from stages.core.tracking.lineage import identify_process

GONE = {"host": socket.gethostname(), "pid": 4_000_000, "started": 1}


def _start(pid: int = os.getpid(), **values: Any) -> dict[str, Any]:
    identity = identify_process(pid)
    process = {"host": identity.host, "pid": pid, "started": identity.started}
    return {"event": "start", "time": 1, "stage": "corpus", "parent": None, **process, **values}


def test_events_end_before_a_line_that_is_not_whole_yet(tmp_path: Path) -> None:
    place = tmp_path / "run.jsonl"
    place.write_bytes(b'{"event": "tags", "time": 1}\n{"event": "ta')
    events, end = read_events(place, 0)
    assert events == [{"event": "tags", "time": 1}]
    assert end == 29
    assert read_events(place, end) == ([], 29)


def test_a_line_that_is_no_event_is_reported_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "run.jsonl"
    place.write_bytes(b'{"event": "me\n{"event": "tags", "time": 1}\n')
    assert [event["event"] for event in read_events(place, 0)[0]] == ["tags"]
    assert "ends at byte 14 is no event, passed over" in caplog.text


def test_a_second_process_does_not_end_the_run_of_a_live_one() -> None:
    entry = Entry("run")
    entry.follow(_start())
    entry.follow(_start(os.getppid()))
    entry.follow({"event": "end", "time": 2, "status": "FAILED", "pid": os.getppid()})
    assert (entry.status, entry.is_live) == ("RUNNING", True)
    entry.follow({"event": "end", "time": 3, "status": "FINISHED", "pid": os.getpid()})
    assert (entry.status, entry.open, entry.last_time) == ("FINISHED", [], 3)


def test_a_resumed_run_forgets_the_process_that_was_killed() -> None:
    entry = Entry("run")
    entry.follow({**_start(), **GONE})
    entry.follow(_start())
    assert [process.pid for process in entry.open] == [os.getpid()]


def test_live_runs_are_seen_before_anything_was_shipped(tmp_path: Path) -> None:
    import json

    ledger = Ledger(tmp_path, "sqlite:///x")
    (tmp_path / "old.jsonl").write_text(json.dumps({**_start(), **GONE}) + "\n")
    assert not ledger.has_live_runs()
    (tmp_path / "new.jsonl").write_text(json.dumps(_start()) + "\n")
    assert ledger.has_live_runs()


def test_an_entry_survives_on_disk_and_a_damaged_one_begins_anew(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "sqlite:///x")
    entry = Entry("run", offset=7, run_id="abc")
    entry.follow(_start())
    ledger.save(entry)
    assert Ledger(tmp_path, "sqlite:///x").entry("run") == entry
    assert Ledger(tmp_path, "sqlite:///other").entry("run") == Entry("run")
    (ledger.folder / "run.json").write_text("{")
    assert Ledger(tmp_path, "sqlite:///x").entry("run") == Entry("run")
