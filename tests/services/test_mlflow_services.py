"""MLflow as a team has it: PostgreSQL, artifacts in S3, and a password for everybody."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import sqlalchemy

from pipelines import access
from pipelines.doctor import services
from pipelines.doctor.finding import Level
from stages.core.errors import TrackingError
from stages.core.tracking.journal import pipeline_run
from stages.core.tracking.shipper import flush
from stages.core.tracking.store import connect
from tests.mlflow_server import MlflowServer
from tests.unit.pretraining.outage import survive_outage
from tests.unit.registration import test_run as registration

pytestmark = pytest.mark.services
BUCKET = "cloze-artifacts"
USER, PASSWORD = "ada", "f3a90b61c27d4e58"
OUTAGE_SECONDS = 10.0
PATIENCE_SECONDS = 120.0  # on cores that are busy with other things
# What infra/ holds; where the database is the environment says, and it is no part of these.
AUTH_SETTINGS = Path(__file__).parents[2] / "infra" / "kubernetes" / "base" / "mlflow-auth.ini"
STORE = "postgresql:///mlflow"
AUTH_TABLES = ["db", "upgrade", "--url", "postgresql:///mlflow_auth"]
# The server's alone: a client sends its files through the server, and needs no key of S3.
S3_KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class Service(MlflowServer):
    """The server as infra/compose.yaml starts it, and what a test looks at behind it."""

    def __init__(self, folder: Path, postgres, s3_url: str) -> None:
        user, place = postgres("mlflow").partition("/")[0].split("@")
        postgres("mlflow_auth")
        self.database = f"postgresql://{user}@{place}/mlflow"
        self.s3 = boto3.client(
            "s3",
            endpoint_url=s3_url,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            region_name="us-east-1",
        )
        self.s3.create_bucket(Bucket=BUCKET)
        host, _, port = place.partition(":")
        environment = {
            **S3_KEYS,
            "AWS_ENDPOINT_URL_S3": s3_url,
            "PGHOST": host,
            "PGPORT": port,
            "PGUSER": user,
            "MLFLOW_AUTH_CONFIG_PATH": str(AUTH_SETTINGS),
            "MLFLOW_AUTH_ADMIN_USERNAME": USER,
            "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "7d1c90a2b5",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        super().__init__(
            folder,
            STORE,
            artifacts=f"s3://{BUCKET}/mlflow",
            options=("--workers", "2", "--app-name", "basic-auth"),
            environment=environment,
        )

    def make_tables(self) -> None:
        """Bring both databases up to date, as infra/compose.yaml does before the server starts."""
        commands = (["mlflow", "db", "upgrade", STORE], ["mlflow.server.auth", *AUTH_TABLES])
        running = [
            subprocess.Popen(
                [sys.executable, "-m", *command], env={**os.environ, **self._environment}
            )
            for command in commands
        ]
        assert [process.wait() for process in running] == [0, 0]

    def files(self) -> dict[str, int]:
        """Key -> bytes of what lies in the bucket."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return {file["Key"]: file["Size"] for page in pages for file in page.get("Contents", [])}

    def rows(self, query: str) -> list[tuple]:
        """What the database itself says."""
        engine = sqlalchemy.create_engine(self.database)
        with engine.connect() as connection:
            found = [tuple(row) for row in connection.execute(sqlalchemy.text(query))]
        engine.dispose()
        return found


@pytest.fixture(scope="module")
def service(postgres, s3_url, tmp_path_factory) -> Iterator[Service]:
    server = Service(tmp_path_factory.mktemp("mlflow"), postgres, s3_url)
    server.make_tables()
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _client(service, tmp_path, monkeypatch):
    service.start()  # where a test that failed left it stopped
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOZE_STATE", str(tmp_path / "client"))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", service.url)
    monkeypatch.setenv(access.MLFLOW_USER, USER)
    monkeypatch.setenv(access.MLFLOW_PASSWORD, PASSWORD)
    for name in S3_KEYS:
        monkeypatch.delenv(name, raising=False)


def write_run(key: str, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("kept\n")
    with pipeline_run(key, params={"a": 1}, tags={"b": "2"}) as journal:
        for step in range(3):
            journal.metrics({"loss": 2.0 - step}, step)
        journal.artifact(note)


def test_a_run_arrives_in_postgresql_and_its_file_in_s3(service, tmp_path):
    write_run("through", tmp_path)
    flush(PATIENCE_SECONDS)
    run = connect().find_run("through")
    assert (run.info.status, run.data.params) == ("FINISHED", {"a": "1"})
    query = f"SELECT step, value FROM metrics WHERE run_uuid = '{run.info.run_id}' ORDER BY step"
    assert service.rows(query) == [(0, 2.0), (1, 1.0), (2, 0.0)]
    (key,) = (key for key in service.files() if run.info.run_id in key)
    assert key.startswith("mlflow/")
    assert key.endswith("/note.txt")
    assert connect().client.download_artifacts(run.info.run_id, "note.txt", str(tmp_path / "."))


def test_a_wrong_password_is_refused_without_being_shown_and_loses_nothing(tmp_path, monkeypatch):
    write_run("refused", tmp_path)
    with monkeypatch.context() as patch:
        patch.setenv(access.MLFLOW_PASSWORD, "not-the-password")
        with pytest.raises(TrackingError, match=r"401|403|[Uu]nauth|not authenticated") as raised:
            flush(patience_seconds=1.0)
        assert "not-the-password" not in str(raised.value)
        (finding,) = services.mlflow(tmp_path)
        assert finding.level is Level.PROBLEM
    flush(PATIENCE_SECONDS)
    assert connect().find_run("refused").info.status == "FINISHED"


def test_doctor_finds_the_server_in_order_and_the_tables_those_of_this_mlflow(
    service, tmp_path, monkeypatch
):
    (finding,) = services.mlflow(tmp_path)
    assert finding.level is Level.OK, finding
    monkeypatch.setenv("MLFLOW_TRACKING_URI", service.database)
    (finding,) = services.mlflow_schema(tmp_path)
    assert finding.level is Level.OK, finding
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{service.database}_auth")
    (finding,) = services.mlflow_schema(tmp_path)
    assert finding.level is Level.PROBLEM  # tables of another kind


def test_registered_models_lie_in_s3_and_load_back(service, tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    registration._make_artifacts(seed=1)
    registration._register()
    weights = [key for key in service.files() if key.endswith("model.safetensors")]
    assert len(weights) == 3  # an encoder and two task models
    fill_mask = mlflow.transformers.load_model("models:/cloze-encoder@candidate")
    assert len(fill_mask("a [MASK] c")) == 5
    folder = Path(mlflow.artifacts.download_artifacts("models:/cloze-sst-2@candidate"))
    made = Path("artifacts/finetuning/SST-2/predictions.parquet")
    assert (folder / "predictions.parquet").read_bytes() == made.read_bytes()


def test_training_goes_on_while_mlflow_is_away_and_every_metric_is_there_once_afterwards(
    service, tmp_path
):
    counted = survive_outage(tmp_path, OUTAGE_SECONDS, service, checkpoint_interval_steps=100)
    assert counted["outage_seconds"] >= OUTAGE_SECONDS
    assert counted["steps"] > 20
