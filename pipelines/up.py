"""`up` and `down`: MLflow, Prefect, a worker and the deployed flow on this machine.

In: infra/prefect.yaml and infra/zombie-runs.yaml. Out: running servers and their addresses. What
runs already is left alone, so that `up` again only deploys the flow anew, with the form of the
params.yaml that is there now.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pipelines.access import bind_host, mlflow_access, reached_at
from pipelines.environment import child_environment
from pipelines.servers import (
    answers,
    port_of,
    post,
    prefect_environment,
    record_file,
    running,
    start,
    start_prefect,
    stop,
    wait_until,
)
from stages.core.artifacts import write_json
from stages.core.errors import SettingsError, StorageError
from stages.core.settings import read_yaml
from stages.core.tracking.journal import SHIPPER_MODULE
from stages.core.tracking.store import shown_uri, store_folder, tracking_uri

POOL = "cloze"
DEPLOYMENT = "cloze/this-machine"
INFRA = Path("infra")
RUNS_VARIABLE = "CLOZE_PARALLEL_RUNS"
# Its job runner is eight processes of 200 MB that judge traces of language models: nothing of ours.
_MLFLOW_ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
NAMES = ("worker", "prefect", "mlflow")  # in the order in which they are stopped


def start_all(root: Path) -> dict[str, str]:
    """Start what does not run yet, deploy the flow, and return the addresses to open.

    Raises: SettingsError: a port is taken, or the flow cannot be deployed. StorageError: a server
        did not start.
    """
    addresses = {}
    if tracking_uri().startswith("http"):
        addresses["MLflow"] = shown_uri()
    else:
        addresses["MLflow"] = _begin_mlflow(root)
    api = _begin_prefect(root)
    addresses["Prefect"] = api.removesuffix("/api")
    if running("mlflow"):
        wait_until("mlflow", lambda: answers(f"{addresses['MLflow']}/health"))
    wait_until("prefect", lambda: answers(f"{api}/health"))
    _begin_worker(root, api)
    wait_until("worker", lambda: _is_worker_online(api))
    _deploy(root, api)
    _automate(root, api)
    return addresses


def stop_all() -> list[str]:
    """Stop what runs; returns the names of what did."""
    return [name for name in NAMES if stop(name)]


def _begin_mlflow(root: Path) -> str:
    record = running("mlflow")
    if record:
        return str(record["url"])
    port = port_of("mlflow")
    # The shipper makes a new store's tables alone: a server's several processes crash over it.
    _run(root, {}, "-m", SHIPPER_MODULE, "--flush")
    host = bind_host()
    url = f"http://{reached_at(host)}:{port}"
    options, environment = mlflow_access(store_folder())
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    command += ["--workers", "1", *options]
    command += ["--default-artifact-root", str(store_folder() / "artifacts")]
    # An address with a password does not belong on a command line, which every user can read.
    environment = {**environment, "MLFLOW_BACKEND_STORE_URI": tracking_uri()}
    start("mlflow", command, {**_MLFLOW_ENVIRONMENT, **environment}, cwd=root, url=url)
    return url


def _begin_prefect(root: Path) -> str:
    record = running("prefect")
    if record is None:
        return start_prefect(root, port_of("prefect"), is_kept=True)
    if not record["is_kept"]:  # a run borrowed it: it stays, and that run no longer stops it
        write_json(record_file("prefect"), {**record, "is_kept": True})
    return str(record["url"])


def _begin_worker(root: Path, api: str) -> None:
    if running("worker"):
        return
    limit = os.environ.get(RUNS_VARIABLE, "1")
    if not limit.isdecimal() or int(limit) < 1:
        raise SettingsError(f"environment: {RUNS_VARIABLE} is {limit!r}, expected a number >= 1")
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process"]
    command += ["--pool", POOL, "--name", "this-machine", "--limit", limit]
    environment = {**prefect_environment(api), "PYTHONPATH": str(root)}
    start("worker", command, environment, cwd=root)


def _is_worker_online(api: str) -> bool:
    if not answers(f"{api}/work_pools/{POOL}"):
        return False
    workers = post(f"{api}/work_pools/{POOL}/workers/filter", {})
    return any(worker["status"] == "ONLINE" for worker in workers)


def _deploy(root: Path, api: str) -> None:
    environment = {**prefect_environment(api), "CLOZE_CHECKOUT": str(root), "PYTHONPATH": str(root)}
    # A flow that cannot be imported would be deployed all the same, without its form.
    _run(root, environment, "-c", "import pipelines.flow")
    file = str(INFRA / "prefect.yaml")
    _run(root, environment, "-m", "prefect", "deploy", "--all", "--prefect-file", file)


def _automate(root: Path, api: str) -> None:
    """Create the automation unless there is one of its name."""
    automation = read_yaml(root / INFRA / "zombie-runs.yaml")
    wanted = {"automations": {"name": {"any_": [automation["name"]]}}}
    if not post(f"{api}/automations/filter", wanted):
        post(f"{api}/automations/", automation)


def _run(root: Path, environment: Mapping[str, str], *arguments: str) -> None:
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=child_environment(**environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        said = (result.stderr.strip() or result.stdout.strip())[-2000:]
        raise StorageError(f"python {' '.join(arguments)} failed: {said}")
