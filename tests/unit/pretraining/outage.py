"""A training whose MLflow server is gone for a while, and which is killed and resumed meanwhile."""

import json
import time
from collections import Counter
from pathlib import Path

from mlflow import MlflowClient

from tests.golden.curves import write_artefacts
from tests.mlflow_server import MlflowServer
from tests.unit.pretraining.attempts import Attempt
from tests.unit.pretraining.test_objectives_run import settings_of
from tests.unit.pretraining.test_run import Stage, steps

SETTINGS = settings_of("bert", budget=steps(1_000_000), eval_interval_steps=1_000_000)


def survive_outage(
    folder: Path,
    seconds: float,
    server: MlflowServer | None = None,
    *,
    checkpoint_interval_steps: int = 20,
) -> dict[str, float]:
    """Train with a server that is away for `seconds`; returns what was counted.

    The server is one of its own with SQLite, or another, which runs on afterwards.
    Asserts that every step of the journal is in MLflow once, in one run, and that the steps which
    the kill rolled back are named.
    """
    write_artefacts(folder, "bert")
    stage = Stage(folder, folder)
    if server is not None:
        return _train_through(stage, server, seconds, checkpoint_interval_steps)
    own = MlflowServer(folder)
    try:
        return _train_through(stage, own, seconds, checkpoint_interval_steps)
    finally:
        own.stop()


def _train_through(
    stage: Stage, server: MlflowServer, seconds: float, interval: int
) -> dict[str, float]:
    variables = {
        "CLOZE_TRACKING": "on",
        "MLFLOW_TRACKING_URI": server.start(),
        "CLOZE_CHECKPOINT_INTERVAL_STEPS": str(interval),
        "CLOZE_LOG_INTERVAL_STEPS": str(interval // 10),
    }
    first = Attempt(stage, SETTINGS, **variables)
    first.wait_until(lambda: _arrived(stage))
    server.stop()
    began = time.monotonic()
    time.sleep(seconds / 4)
    first.wait_until(lambda: stage.checkpoints and first.step % interval > 4)  # beyond one
    assert first.kill()
    second = Attempt(stage, SETTINGS, **variables)
    assert second.wait_until(lambda: second.step)
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    away = time.monotonic() - began
    reached = second.step
    server.start()
    assert second.wait_until(lambda: second.step > reached)
    second.process.terminate()
    assert second.finish() == 143
    assert "resumed step=" in second.text
    result = stage.run_module("pipelines", "replay", **variables)
    assert result.returncode == 0, result.stderr
    counted = _compare(stage, MlflowClient(server.url), every=interval // 10)
    return {"outage_seconds": round(away, 1)} | counted


def _arrived(stage: Stage) -> bool:
    """Whether the shipper has brought numbers of the run into MLflow."""
    entries = stage.state.glob("journal/shipped/*/pretraining-*.json")
    return any(json.loads(path.read_text())["offset"] > 5000 for path in entries)


def _compare(stage: Stage, client: MlflowClient, *, every: int) -> dict[str, float]:
    """Hold the journal and MLflow against each other; numbers were logged `every` so many steps."""
    (journal,) = stage.state.glob("journal/*.jsonl")
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    logged = [e["step"] for e in events if e["event"] == "metrics" and "loss" in e["values"]]
    experiment = client.get_experiment_by_name("cloze")
    mine = f"tags.`cloze.run_key` = '{journal.stem}'"
    (run,) = client.search_runs([experiment.experiment_id], mine)
    points = client.get_metric_history(run.info.run_id, "loss")
    assert sorted(point.step for point in points) == sorted(set(logged))
    assert sorted(set(logged)) == list(range(every, max(logged) + 1, every))
    for name in run.data.metrics:
        counted = Counter(p.step for p in client.get_metric_history(run.info.run_id, name))
        assert set(counted.values()) == {1}, name
    assert run.info.status == "KILLED"
    (told,) = [event for event in events if event["event"] == "superseded"]
    again = [step for step, number in Counter(logged).items() if number > 1]
    assert set(again) <= set(range(told["first"], told["last"] + 1))
    tag = run.data.tags["cloze.superseded_steps"]
    assert tag == f"{told['first']}-{told['last']}"
    return {"runs": 1, "steps": len(points), "steps_trained_again": len(again), "doubled": 0}
