import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stages.core.fingerprint import REPOSITORY
from stages.core.tracking import lineage

LOCK = """
schema: '2.0'
stages:
  tasks:
    outs:
    - {path: artifacts/tasks, md5: aaa.dir}
  finetuning@RTE:
    outs:
    - {path: artifacts/finetuning/RTE, md5: bbb.dir}
  finetuning@CoLA:
    outs:
    - {path: artifacts/finetuning/CoLA, md5: ccc.dir}
  remote:
    outs:
    - {path: s3://elsewhere, etag: x}
"""


def test_inputs_carry_the_hash_of_the_out_that_they_are_below_or_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.lock").write_text(LOCK)
    inputs = {
        "task": Path("artifacts/tasks/RTE"),
        "finetuning": Path("artifacts/finetuning"),
        "lock": Path("requirements.lock"),
    }
    assert lineage.input_hashes(inputs) == {
        "input.task": "aaa.dir",
        "input.finetuning/RTE": "bbb.dir",
        "input.finetuning/CoLA": "ccc.dir",
    }


def test_a_lock_file_that_is_being_written_costs_the_hashes_not_the_run(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text("stages: {tasks: [")
    assert lineage.locked_outputs(tmp_path / "dvc.lock") == {}


def test_a_process_is_alive_until_it_ends_even_if_nobody_collects_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = lineage.identify_process(child.pid)
    assert lineage.is_alive(identity)
    assert not lineage.is_alive(replace(identity, started=identity.started + 1))  # a reused pid
    assert not lineage.is_alive(replace(identity, host="elsewhere"))
    assert child.stdin is not None
    child.stdin.close()
    waiting = f"while grep -q '^State:.[RS]' /proc/{child.pid}/status; do :; done"
    subprocess.run(["sh", "-c", waiting], check=True)
    assert not lineage.is_alive(identity)
    child.wait()


def test_the_outermost_dvc_process_is_the_pipeline(tmp_path: Path) -> None:
    child = (
        "import json, sys; sys.path.insert(0, sys.argv[1]);"
        "from stages.core.tracking.lineage import dvc_process; p = dvc_process();"
        "print(json.dumps([p.pid, p.key, p.command]))"
    )
    (tmp_path / "dvc").write_text(
        "import os, subprocess, sys\n"
        "if sys.argv[1] == 'repro': subprocess.run([sys.executable, __file__, 'inner'])\n"
        f"else: subprocess.run([sys.executable, '-c', {child!r}, {str(REPOSITORY)!r}])\n"
    )
    outer = subprocess.Popen(
        [sys.executable, str(tmp_path / "dvc"), "repro"], stdout=subprocess.PIPE, text=True
    )
    pid, key, command = json.loads(outer.communicate()[0])
    assert (pid, command) == (outer.pid, "dvc repro")
    assert key.startswith(f"dvc-{pid}-")
