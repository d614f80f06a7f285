"""A state root with an MLflow store in it; its tables are made once a session (5 s)."""

import os
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "state"
    monkeypatch.setenv("CLOZE_STATE", str(root))
    monkeypatch.setenv("CLOZE_TRACKING", "off")
    for name in ("CLOZE_PIPELINE_RUN", "CLOZE_FLOW_RUN_ID", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "recorded, so that it is restored: mlflow writes here")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return root


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.getbasetemp() / "mlflow-empty.db"
    if not place.exists():
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        from mlflow import MlflowClient

        MlflowClient(f"sqlite:///{place}.partial").search_experiments()
        place.with_name(f"{place.name}.partial").rename(place)
    return place


@pytest.fixture
def mlflow_state(state: Path, empty_store: Path) -> Path:
    (state / "mlflow").mkdir(parents=True)
    shutil.copy(empty_store, state / "mlflow" / "mlflow.db")
    return state
