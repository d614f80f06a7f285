"""The Prefect flow from the command line: skips, works aside for other settings, and stops."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# With servers and a worker in `make test`: tests/services/test_flows.py.
pytestmark = [pytest.mark.e2e, pytest.mark.soak]
TRAIN = ("python", "-m", "pipelines", "train")


def states(result: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Stage -> the name of its task's final state, read from Prefect's log."""
    found = {}
    for line in (result.stdout + result.stderr).splitlines():
        if "Task run '" in line and "Finished in state" in line:
            found[line.split("'")[1]] = line.split("Finished in state ")[1].split("(")[0]
    return found


def processes_of(root: Path) -> list[str]:
    """Command lines of live processes that work in or below a folder, the shipper left out."""
    alive = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            place = (entry / "cwd").resolve()
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if place.is_relative_to(root) and words and "shipper" not in words:
            alive.append(words)
    return alive


def test_an_unchanged_pipeline_is_skipped_without_a_process_and_judged(project):
    project.repro()  # other tests may have left it a setting away
    result = project.run(*TRAIN, CLOZE_TRACKING="on")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-6000:]
    found = states(result)
    assert found.pop("gate") == "Completed"
    assert len(found) == 10
    assert set(found.values()) == {"Skipped"}
    assert "Running stage" not in result.stdout + result.stderr
    assert re.search(r"\b0 of 10 stages ran", result.stdout + result.stderr)


def test_other_settings_run_in_a_worktree_and_leave_the_checkout_alone(project):
    before = (project.root / "params.yaml").read_text(), project.lock
    changed = ("--flow", "evaluate", "--set", "finetuning.tasks.first.max_seq_length=20")
    result = project.run(*TRAIN, *changed)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-6000:]
    assert "2 of 9 stages ran" in result.stdout + result.stderr
    assert ((project.root / "params.yaml").read_text(), project.lock) == before
    workspaces = list((project.root / ".cloze" / "runs").glob("*/run.json"))
    assert workspaces


def test_a_stopped_run_ends_whole_and_the_next_one_goes_on(project):
    environment = project.environment()
    pretrain = (*TRAIN, "--flow", "pretrain", "--set", "pretraining.seed=2")
    command = [sys.executable, *pretrain[1:]]
    process = subprocess.Popen(
        command,
        cwd=project.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if "stages.pretraining" in line:
            break
    os.kill(process.pid, signal.SIGTERM)
    said += process.stdout.readlines()
    assert process.wait(60) in (130, 143), "".join(said[-40:])
    deadline = time.monotonic() + 30
    while processes_of(project.root) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_of(project.root) == []
    result = project.run(*pretrain)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-6000:]
    assert "1 of 6 stages ran" in result.stdout + result.stderr


def test_a_refresh_goes_on_from_the_champion_over_new_documents_and_else_ends(project):
    project.repro()
    refresh = (*TRAIN, "--flow", "refresh")
    promoted = project.run("python", "-m", "pipelines", "promote", "--reason", "a start")
    assert promoted.returncode == 0, promoted.stderr[-3000:]
    result = project.run(*refresh)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-6000:]
    assert "no new documents since cloze-encoder" in result.stdout + result.stderr
    project.add_document("new", [f"The window number {i} returns a value." for i in range(30)])
    try:
        result = project.run(*refresh)
    finally:
        (project.root / "data" / "documents" / "new.txt").unlink()
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-6000:]
    found = states(result)
    assert (found["tasks"], found["corpus"], found["pretraining"]) == (
        "Skipped",
        "Completed",
        "Completed",
    )
