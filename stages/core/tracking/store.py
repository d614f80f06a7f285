"""The MLflow store: where it is, how it is opened safely, and how a run is found in it.

Which store: MLFLOW_TRACKING_URI, else SQLite under the state root with its artefacts beside it,
never in the working directory, which may be a worktree that goes. Importing mlflow costs 2 s, so it
happens inside `connect`.
A client waits seconds, not MLflow's four minutes, for a server that is down.
"""

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stages.core.errors import ClozeError, TrackingError
from stages.core.logs import fields
from stages.core.secrets import redacted
from stages.core.state import main_checkout, state_root

log = logging.getLogger(__name__)
EXPERIMENT = "cloze"
OUTPUTS_TAG = "cloze.outputs"
# The server understood and refuses: trying again cannot help.
_PERMANENT = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}
# A path without a slash in front: of SQLite (not in memory), of files, or of either's short form.
_RELATIVE = re.compile(r"(sqlite(?:\+\w+)?:///|file:|)(?!/|\?)([^:?#]+)(\?.*|)")
_NAMES_OF_SERVERS = ("databricks", "databricks-uc", "uc")
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def store_folder() -> Path:
    """The folder of the default store."""
    return state_root() / "mlflow"


def default_uri() -> str:
    """The URI of the default store."""
    return f"sqlite:///{store_folder()}/mlflow.db"


def tracking_uri() -> str:
    """The URI of the store in use: MLFLOW_TRACKING_URI, else SQLite under the state root.

    A relative path in it counts from the main checkout, so that all its worktrees have one store.
    """
    named = os.environ.get("MLFLOW_TRACKING_URI") or default_uri()
    relative = None if named in _NAMES_OF_SERVERS else _RELATIVE.fullmatch(named)
    if relative is None:
        return named
    scheme, path, options = relative.groups()
    return f"{scheme}{os.path.normpath(main_checkout() / path)}{options}"


def shown_uri() -> str:
    """The store's URI for messages, without a password."""
    return redacted(tracking_uri())


class TrackingStore:
    """The project's experiment in an MLflow store."""

    def __init__(self, client: Any, experiment_id: str) -> None:
        self.client = client
        self.experiment_id = experiment_id

    def find_run(self, key: str) -> Any | None:
        """The MLflow run of a run key; None where the store has none."""
        return self._newest(f"tags.`cloze.run_key` = '{key}'")

    def find_producer(self, output_hash: str) -> Any | None:
        """The newest finished run that made an output of this content hash; None without one.

        A stage that DVC skipped or restored has no run of its own: this finds the run that made
        what it would have made.
        """
        return self._newest(
            f"tags.`{OUTPUTS_TAG}` LIKE '%{output_hash}%' AND attributes.status = 'FINISHED'"
        )

    def _newest(self, condition: str) -> Any | None:
        runs = self.client.search_runs(
            [self.experiment_id], condition, max_results=1, order_by=["attributes.start_time DESC"]
        )
        return runs[0] if runs else None


def connect() -> TrackingStore:
    """Open the store, make its tables and the experiment when they are missing.

    Raises: TrackingError: MLflow is not installed, or the store cannot be used.
    """
    if find_spec("mlflow") is None:
        raise TrackingError(
            "mlflow is not installed; install the extra `all`: pip install '.[all]'"
        )
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow

    with tracking_errors("cannot be opened"), _sole_opener():
        mlflow.set_tracking_uri(tracking_uri())
        client = mlflow.MlflowClient()
        return TrackingStore(client, _experiment(client))


# MLflow's pages then open with training runs, not with traces of language model applications.
_KIND = {"mlflow.experimentKind": "custom_model_development"}


def _experiment(client: Any) -> str:
    """The id of the experiment; created once, also when two machines try."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        place = _artifact_folder()
        try:
            return str(client.create_experiment(EXPERIMENT, artifact_location=place, tags=_KIND))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(EXPERIMENT)
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"MLflow ({shown_uri()}): experiment {EXPERIMENT!r} was deleted; restore it with "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}`"
        )
    return str(found.experiment_id)


def _artifact_folder() -> str | None:
    """Where a new experiment keeps files: beside its SQLite database; None: the store says where.

    MLflow would take `mlruns` of the working directory.
    """
    if tracking_uri() == default_uri():
        return str(store_folder() / "artifacts")
    database = re.fullmatch(r"sqlite(?:\+\w+)?:///(/[^?]+)(?:\?.*)?", tracking_uri())
    return str(Path(database[1]).parent / "mlruns") if database else None


@contextmanager
def _sole_opener() -> Iterator[None]:
    """One process at a time: several that create the tables of a new SQLite store crash."""
    if not tracking_uri().startswith("sqlite"):
        yield
        return
    store_folder().mkdir(parents=True, exist_ok=True)
    with (store_folder() / "open.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def tracking_errors(failing: str, *, are_bugs_too: bool = False) -> Iterator[None]:
    """Turn what MLflow and the libraries below it raise into a TrackingError: what fails, and why.

    It lets through what its plugins raise: a missing boto3, credentials that are not there. Errors
    of Python itself are bugs and stay what they are, unless `are_bugs_too`: then they are logged.
    Raises: TrackingError: MLflow, its database, its artefact store or a connection failed.
    """
    try:
        yield
    except ClozeError:
        raise
    except Exception as error:
        name = type(error).__name__
        if _is_bug(error):
            if not are_bugs_too:
                raise
            log.exception("%s", fields("unforeseen", error=name))
        found = ": ".join(filter(None, (name, redacted(_first_line(error)))))
        raise TrackingError(
            f"MLflow ({shown_uri()}) {failing}: {found}; start the server or correct "
            "MLFLOW_TRACKING_URI, give what is said to be missing, then run again: nothing is lost"
        ) from error


def _is_bug(error: Exception) -> bool:
    return type(error).__module__ == "builtins" and not isinstance(error, (OSError, ImportError))


def is_permanent(error: Any) -> bool:
    """Whether an MlflowException says that trying again cannot help."""
    return error.error_code in _PERMANENT


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else ""
