"""Shards: a result in the plan's order, computed once, whatever kills what computes it."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from stages.core import shards as module
from stages.core.errors import SettingsError, StorageError
from stages.core.execution import read_execution
from stages.core.settings import Section
from stages.core.shards import KeptShards, kept_shards
from stages.core.state import shards_root

WORKERS = [1, pytest.param(2, marks=pytest.mark.slow)]
PROGRAM = """
import sys
from pathlib import Path
from stages.core.shards import KeptShards
from tests.unit.core.test_shards import call, plan

if __name__ == "__main__":
    for _ in KeptShards(Path(sys.argv[1])).map(call, plan(sys.argv[2], 200)):
        pass
"""


class Settings(Section):
    number: int = 1


def plan(calls: str | Path, count: int) -> list[tuple[str, tuple[str, int]]]:
    return [(f"part-{number}", (str(calls), number)) for number in range(count)]


def call(item: tuple[str, int]) -> int:
    """Ten times the number; each call leaves a line."""
    calls, number = item
    with Path(calls).open("a") as stream:
        stream.write(f"{number}\n")
    if number < 0:
        raise ValueError("no luck")
    return 10 * number


def called(calls: Path) -> list[int]:
    return [int(line) for line in calls.read_text().split()] if calls.exists() else []


@pytest.fixture
def calls(tmp_path):
    return tmp_path / "calls"


@pytest.mark.parametrize("workers", WORKERS)
def test_results_come_in_the_order_of_the_plan(tmp_path, calls, monkeypatch, workers):
    monkeypatch.setenv("CLOZE_WORKERS", str(workers))
    found = list(KeptShards(tmp_path / "shards").map(call, plan(calls, 12)))
    assert found == list(range(0, 120, 10))
    assert sorted(called(calls)) == list(range(12))


@pytest.mark.parametrize("workers", WORKERS)
def test_what_is_finished_is_not_computed_again(tmp_path, calls, monkeypatch, workers):
    monkeypatch.setenv("CLOZE_WORKERS", str(workers))
    shards = KeptShards(tmp_path / "shards")
    list(shards.map(call, plan(calls, 5)))
    assert list(shards.map(call, plan(calls, 8))) == list(range(0, 80, 10))
    assert sorted(called(calls)) == list(range(8))
    assert shards.read("part-3") == 30


@pytest.mark.slow
@pytest.mark.parametrize("workers", WORKERS)
def test_after_kill_9_only_missing_shards_are_computed(tmp_path, calls, monkeypatch, workers):
    monkeypatch.setenv("CLOZE_WORKERS", str(workers))
    folder = tmp_path / "shards"
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, str(program), str(folder), str(calls)],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        start_new_session=True,
    )
    while len(list(folder.glob("*.done"))) < 5:
        assert process.poll() is None
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {int(path.stem.removeprefix("part-")) for path in folder.glob("*.done")}
    assert 5 <= len(finished) < 200
    found = list(KeptShards(folder).map(call, plan(calls, 200)))
    assert found == list(range(0, 2000, 10))
    times = Counter(called(calls))
    assert {times[number] for number in finished} == {1}
    assert set(times) == set(range(200))
    assert sum(times.values()) <= 200 + workers


def test_a_shard_without_a_marker_is_computed_again(tmp_path, calls):
    shards = KeptShards(tmp_path / "shards")
    list(shards.map(call, plan(calls, 3)))
    (tmp_path / "shards" / "part-1.done").unlink()
    assert list(shards.map(call, plan(calls, 3))) == [0, 10, 20]
    assert called(calls) == [0, 1, 2, 1]


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("damage", [b"", b"something else", None])
def test_a_finished_shard_that_is_damaged_is_computed_again(
    tmp_path, calls, caplog, monkeypatch, damage, workers
):
    monkeypatch.setenv("CLOZE_WORKERS", "1")
    shards = KeptShards(tmp_path / "shards")
    list(shards.map(call, plan(calls, 3)))
    file = tmp_path / "shards" / "part-1.pickle"
    file.unlink()
    if damage is not None:
        file.write_bytes(damage)
    monkeypatch.setenv("CLOZE_WORKERS", str(workers))
    assert list(shards.map(call, plan(calls, 3))) == [0, 10, 20]
    assert called(calls) == [0, 1, 2, 1]
    if workers == 1:
        assert "part-1: has the hash" in caplog.text


def test_a_shard_that_is_lost_after_it_was_finished_is_named(tmp_path, calls):
    shards = KeptShards(tmp_path / "shards")
    list(shards.map(call, plan(calls, 2)))
    (tmp_path / "shards" / "part-0.pickle").write_bytes(b"other")
    with pytest.raises(StorageError, match=r"part-0: a finished shard has the hash \w+, expected"):
        shards.read("part-0")
    (tmp_path / "shards" / "part-1.pickle").unlink()
    with pytest.raises(StorageError, match=r"part-1.pickle: a finished shard is gone"):
        shards.read("part-1")


def test_an_error_of_a_shard_is_raised_and_the_finished_ones_stay(tmp_path, calls):
    shards = KeptShards(tmp_path / "shards")
    broken = [*plan(calls, 2), ("part-bad", (str(calls), -1))]
    with pytest.raises(ValueError, match="no luck"):
        list(shards.map(call, broken))
    assert list(shards.map(call, plan(calls, 2))) == [0, 10]
    assert called(calls) == [0, 1, -1]


def test_a_full_disk_leaves_no_marker(tmp_path, calls, monkeypatch):
    def fill(path: Path, content: bytes) -> None:
        del content
        raise OSError(28, "No space left on device", str(path))

    shards = KeptShards(tmp_path / "shards")
    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OSError, match="No space left"):
        list(shards.map(call, plan(calls, 1)))
    assert not list((tmp_path / "shards").iterdir())


def test_the_folder_goes_when_the_stage_is_done_and_stays_when_it_failed(calls):
    with pytest.raises(ValueError, match="no luck"), kept_shards("masking", Settings(), {}) as kept:
        list(kept.map(call, [*plan(calls, 2), ("part-bad", (str(calls), -1))]))
    with kept_shards("masking", Settings(), {}) as kept:
        assert list(kept.map(call, plan(calls, 3))) == [0, 10, 20]
    assert called(calls) == [0, 1, -1, 2]
    assert list(shards_root().iterdir()) == []


def test_other_settings_inputs_or_code_find_no_shard_of_these(calls, monkeypatch):
    def computed(settings: Settings, inputs: dict[str, str], stage: str = "masking") -> int:
        before = len(called(calls))
        with suppress(KeyboardInterrupt), kept_shards(stage, settings, inputs) as kept:
            list(kept.map(call, plan(calls, 2)))
            raise KeyboardInterrupt
        return len(called(calls)) - before

    assert computed(Settings(), {"encoding": "a"}) == 2
    assert computed(Settings(), {"encoding": "a"}) == 0
    assert computed(Settings(number=2), {"encoding": "a"}) == 2
    assert computed(Settings(), {"encoding": "b"}) == 2
    assert computed(Settings(), {"encoding": "a"}, stage="encoding") == 2
    monkeypatch.setattr(module, "code_fingerprint", lambda *_modules: "edited")
    assert computed(Settings(), {"encoding": "a"}) == 2
    monkeypatch.undo()


def test_how_a_job_runs_does_not_name_its_shards(calls, monkeypatch):
    for variables in ({}, {"CLOZE_WORKERS": "2"}, {"CLOZE_EXECUTOR": "ray"}):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with suppress(KeyboardInterrupt), kept_shards("masking", Settings(), {}):
            raise KeyboardInterrupt
    assert len(list(shards_root().iterdir())) == 1


def test_two_stages_that_want_the_same_shards_at_once_get_a_folder_each(calls):
    with kept_shards("masking", Settings(), {}) as one:
        list(one.map(call, plan(calls, 2)))
        with kept_shards("masking", Settings(), {}) as two:
            assert list(two.map(call, plan(calls, 2))) == [0, 10]
        assert one.read("part-1") == 10
    assert called(calls) == [0, 1, 0, 1]
    assert list(shards_root().iterdir()) == []


def test_few_shards_start_no_workers(tmp_path, calls, monkeypatch):
    monkeypatch.setenv("CLOZE_EXECUTOR", "ray")
    monkeypatch.setattr(module, "ordered_map_on_ray", None)
    kept = KeptShards(tmp_path / "shards")
    assert list(kept.map(call, plan(calls, 2), most_workers=1)) == [0, 10]


def test_an_unknown_executor_is_refused(monkeypatch):
    monkeypatch.setenv("CLOZE_EXECUTOR", "spark")
    with pytest.raises(SettingsError, match="CLOZE_EXECUTOR is 'spark', expected processes or ray"):
        read_execution()


def test_without_ray_the_error_says_how_to_install_it(tmp_path, calls, monkeypatch):
    monkeypatch.setenv("CLOZE_EXECUTOR", "ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"Ray is not installed: pip install .*'\.\[ray\]'"):
        list(KeptShards(tmp_path / "shards").map(call, plan(calls, 1)))
