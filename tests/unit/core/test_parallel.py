import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.core.parallel import WorkerLostError, ordered_map

PROGRAM = """
import os, sys, time
from stages.core.parallel import ordered_map

def work(item):
    open(f"{sys.argv[1]}/{os.getpid()}", "w").close()
    time.sleep(0.05)
    return item

if __name__ == "__main__":
    preload = sys.argv[2] if len(sys.argv) > 2 else None
    for _ in ordered_map(work, range(10_000), workers=2, preload=preload):
        pass
"""


def negate(number: int) -> int:
    if number == 13:
        raise ValueError("no luck")
    return -number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    assert list(ordered_map(negate, range(12), workers=workers)) == [-n for n in range(12)]


def test_an_exception_of_a_worker_is_raised_here() -> None:
    with pytest.raises(ValueError, match="no luck"):
        list(ordered_map(negate, range(20), workers=2))


@pytest.mark.slow
@pytest.mark.parametrize("preload", [[], ["json"]])
def test_workers_end_when_their_parent_is_killed(tmp_path: Path, preload: list[str]) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    marks = tmp_path / "workers"
    marks.mkdir()
    parent = subprocess.Popen(
        [sys.executable, str(program), str(marks), *preload],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    _wait_until(lambda: len(list(marks.iterdir())) == 2)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _wait_until(lambda: not any(_is_alive(int(mark.name)) for mark in marks.iterdir()))


def wait_for_ever(number: int) -> int:
    if number == 0:
        raise ValueError("no luck")
    time.sleep(600)
    return number


def test_an_exception_ends_workers_that_are_busy() -> None:
    before = set(multiprocessing.active_children())
    with pytest.raises(ValueError, match="no luck"):
        list(ordered_map(wait_for_ever, range(4), workers=2))
    assert set(multiprocessing.active_children()) <= before


def be_killed(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_worker_that_is_killed_is_named_with_what_to_do() -> None:
    with pytest.raises(WorkerLostError, match=r"^one of 2 worker .*; set CLOZE_WORKERS to fewer"):
        list(ordered_map(be_killed, range(20), workers=2))
    assert WorkerLostError.exit_code == 1  # another try may have the memory


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _wait_until(condition, timeout_seconds: float = 30) -> None:
    end = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < end, "not within the time limit"
        time.sleep(0.1)
