"""From a registered candidate to a served champion, on the micro project, without a network."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
COMMAND = ("python", "-m", "pipelines")
_PATIENCE_SECONDS = 300.0
_QUESTION = {"dataframe_split": {"columns": ["text"], "data": [["a fine film"], ["42"]]}}


def said(project, *arguments: str) -> str:
    result = project.run(*COMMAND, *arguments)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result.stdout


@contextmanager
def served(project, model: str) -> Iterator[str]:
    """An `mlflow models serve` of the registry's model; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    store = f"sqlite:///{project.root}/.cloze/mlflow/mlflow.db"
    environment = project.environment(HF_HUB_OFFLINE="1") | {"MLFLOW_TRACKING_URI": store}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    log = project.root / "serve.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "-m", model, "-p", port],
            cwd=project.root,
            env=environment,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not _answers(address):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/ping", timeout=5) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def asked(address: str, question: Any) -> Any:
    request = urllib.request.Request(
        f"{address}/invocations",
        data=json.dumps(question).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.loads(reply.read())


def test_a_champion_is_decided_on_kept_rolled_back_and_served_offline(project):
    project.repro()  # other tests may have left it a setting away
    assert said(project, "gate").startswith(("promoted: ", "unchanged: "))
    assert said(project, "gate").startswith("unchanged: ")
    assert (project.root / "reports" / "promotion.html").is_file()
    history = said(project, "gate", "--history")
    assert "gate      promoted" in history
    refused = project.run(*COMMAND, "rollback", "--reason", "a try")
    assert refused.returncode == 3
    assert "nothing to roll back to" in refused.stderr
    with served(project, "models:/cloze-first@champion") as address:
        answers = asked(address, _QUESTION)["predictions"]
    assert {answer["label"] for answer in answers} <= {"rows", "columns", "none"}
    assert all(0 <= answer["score"] <= 1 for answer in answers)
    assert len(answers) == 2


def test_another_rule_runs_no_stage(project):
    project.repro()
    rule = project.params["registration"]["promote_when"]
    project.change({"registration": {"promote_when": {**rule, "max_task_loss": 0.5}}})
    try:
        assert project.repro() == []
    finally:
        project.change({"registration": {"promote_when": rule}})
