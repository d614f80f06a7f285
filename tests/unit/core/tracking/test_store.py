import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import NoRegionError

from stages.core.errors import ArtifactError, TrackingError
from stages.core.fingerprint import REPOSITORY
from stages.core.tracking import store as store_module
from stages.core.tracking.store import connect, shown_uri, tracking_errors, tracking_uri


def test_the_store_is_under_the_state_root_unless_the_environment_names_one(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking_uri() == f"sqlite:///{state}/mlflow/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:pass@example.org/mlflow")
    assert tracking_uri() == "https://me:pass@example.org/mlflow"
    assert shown_uri() == "https://me:***@example.org/mlflow"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout, as seen from a worktree of it."""
    worktree, checkout = tmp_path / "worktree", tmp_path / "checkout"
    of_worktree = checkout / ".git" / "worktrees" / "run"
    of_worktree.mkdir(parents=True)
    (of_worktree / "commondir").write_text("../..\n")
    worktree.mkdir()
    (worktree / ".git").write_text(f"gitdir: {of_worktree}\n")
    monkeypatch.chdir(worktree)
    return checkout


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("sqlite:///mlflow.db", "sqlite:///{checkout}/mlflow.db"),
        ("sqlite:///./db/../mlflow.db?timeout=9", "sqlite:///{checkout}/mlflow.db?timeout=9"),
        ("file:mlruns", "file:{checkout}/mlruns"),
        ("./mlruns", "{checkout}/mlruns"),
        ("sqlite:////abs/mlflow.db", "sqlite:////abs/mlflow.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite://", "sqlite://"),
        ("file:///abs/mlruns", "file:///abs/mlruns"),
        ("/abs/mlruns", "/abs/mlruns"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("postgresql://me@host/mlflow?a=b", "postgresql://me@host/mlflow?a=b"),
        ("databricks", "databricks"),
        ("databricks://profile", "databricks://profile"),
    ],
)
def test_a_relative_address_means_the_checkouts_store_in_every_worktree(
    state: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch, named: str, expected: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", named)
    assert tracking_uri() == expected.format(checkout=checkout)
    monkeypatch.chdir(checkout)
    assert tracking_uri() == expected.format(checkout=checkout)


@pytest.mark.slow
def test_a_relative_store_is_kept_out_of_the_worktree_that_uses_it(
    state: Path, checkout: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty_store, checkout / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    store = connect()
    experiment = store.client.get_experiment(store.experiment_id)
    assert experiment.artifact_location == str(checkout / "mlruns")
    assert [path.name for path in Path.cwd().iterdir()] == [".git"]


@pytest.mark.slow
def test_connecting_writes_nothing_into_the_working_directory(
    mlflow_state: Path, tmp_path: Path
) -> None:
    store = connect()
    experiment = store.client.get_experiment(store.experiment_id)
    assert experiment.name == "cloze"
    assert experiment.artifact_location == str(mlflow_state / "mlflow" / "artifacts")
    assert connect().experiment_id == store.experiment_id
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


@pytest.mark.slow
def test_a_deleted_experiment_is_refused_with_the_way_back(mlflow_state: Path) -> None:
    store = connect()
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(TrackingError, match=r"restore it with `mlflow experiments restore"):
        connect()


def test_a_machine_without_mlflow_is_told_what_to_install(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "find_spec", lambda _: None)
    with pytest.raises(TrackingError, match=r"mlflow is not installed; install the extra `all`"):
        connect()


def test_a_file_that_is_no_database_is_a_tracking_error(
    state: Path,
) -> None:
    (state / "mlflow").mkdir(parents=True)
    (state / "mlflow" / "mlflow.db").write_text("no database " * 100)
    with pytest.raises(TrackingError, match=r"cannot be opened: .*not a database"):
        connect()


@pytest.mark.slow
def test_processes_that_open_a_new_store_together_all_succeed(state: Path) -> None:
    command = [sys.executable, "-c", "from stages.core.tracking.store import connect; connect()"]
    processes = [
        subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outcomes = [(process.communicate()[1], process.returncode) for process in processes]
    assert [code for _, code in outcomes] == [0, 0, 0], outcomes


def test_an_error_of_a_library_is_said_with_its_kind_and_without_secrets(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "f3a90b61c27d4e58")
    expected = r"cannot register: NoRegionError: .*\*\*\*; start the server"
    error = NoRegionError()
    error.args = ("no region for f3a90b61c27d4e58",)
    with pytest.raises(TrackingError, match=expected), tracking_errors("cannot register"):
        raise error


def test_a_bug_stays_one_and_is_logged_where_it_must_not_end_the_process(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyError), tracking_errors("cannot register"):
        raise KeyError("a")
    with (
        pytest.raises(TrackingError, match="does not take it: KeyError: 'a'"),
        tracking_errors("does not take it", are_bugs_too=True),
    ):
        raise KeyError("a")
    assert "Traceback" in caplog.text


def test_an_error_of_ours_stays_what_it_is(state: Path) -> None:
    with pytest.raises(ArtifactError, match="damaged"), tracking_errors("cannot register"):
        raise ArtifactError("damaged")
