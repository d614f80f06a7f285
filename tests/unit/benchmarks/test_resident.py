"""Peak memory of a command: its children count, and a failure is an error."""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.resident import run_measured

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc"
)
HOLDS_64_MB = "x = b'1' * 64_000_000; import time; time.sleep(1)"


def measure(code: str) -> float:
    peak = run_measured([sys.executable, "-c", code], cwd=Path.cwd(), environment=os.environ)
    assert peak.own <= peak.resident
    return peak.own / 1e6


@pytest.mark.slow
def test_the_memory_of_a_child_counts():
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLDS_64_MB!r}])"
    assert measure(HOLDS_64_MB) > 64
    assert measure(code) > 64


def test_a_command_that_fails_is_an_error_with_what_it_said():
    with pytest.raises(RuntimeError, match=r"exit code 1(.|\n)*no such thing"):
        measure("raise OSError('no such thing')")
