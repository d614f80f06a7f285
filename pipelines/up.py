"""`up`, `deploy`, `down`: MLflow, Prefect, workers and the deployed flows.

In: infra/prefect.yaml, work-pools.yaml and zombie-runs.yaml. Out: running servers and their
addresses. What runs already is left alone, so that `up` again only sets the limits and deploys the
flows anew, with the forms of the params.yaml that is there now. Where PREFECT_API_URL or
MLFLOW_TRACKING_URI names a server, that one is used and none is started.
"""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.access import bind_host, mlflow_access, reached_at
from pipelines.devices import runs_at_once
from pipelines.environment import child_environment
from pipelines.servers import (
    answers,
    named_prefect,
    port_of,
    post,
    prefect_api,
    prefect_environment,
    record_file,
    running,
    start,
    start_prefect,
    starting,
    stop,
    wait_until,
)
from stages.core.artifacts import write_json
from stages.core.errors import SettingsError, StorageError
from stages.core.settings import read_yaml
from stages.core.tracking.journal import SHIPPER_MODULE
from stages.core.tracking.store import shown_uri, store_folder, tracking_uri

log = logging.getLogger(__name__)
INFRA = Path("infra")
RUNS_VARIABLE = "CLOZE_PARALLEL_RUNS"
CPU_POOL, GPU_POOL = "cloze-cpu", "cloze-gpu"
# Its job runner is eight processes of 200 MB that judge traces of language models: nothing of ours.
_MLFLOW_ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
_WORKERS = {CPU_POOL: "worker-cpu", GPU_POOL: "worker-gpu"}
NAMES = (*_WORKERS.values(), "prefect", "mlflow")  # in the order in which they are stopped


def start_all(root: Path) -> dict[str, str]:
    """Start what does not run yet, deploy the flows, and return the addresses to open.

    Raises: SettingsError: a port is taken, or a number is none. StorageError: a server did not
        start, or the flows cannot be deployed.
    """
    limits = {CPU_POOL: _cpu_runs(), GPU_POOL: runs_at_once()}
    with starting():
        addresses = dict(_begin_mlflow(root))
        api = _begin_prefect(root)
        addresses["Prefect"] = api.removesuffix("/api")
        if "MLflow" in addresses and running("mlflow"):
            wait_until("mlflow", lambda: answers(f"{addresses['MLflow']}/health"))
        if running("prefect"):
            wait_until("prefect", lambda: answers(f"{api}/health"))
        set_up_pools(root, api, limits)
        working = {pool: limit for pool, limit in limits.items() if limit}
        for pool, limit in working.items():
            _begin_worker(root, api, pool, limit)
        for pool in working:
            wait_until(_WORKERS[pool], lambda pool=pool: _is_worker_online(api, pool))  # type: ignore[misc]
        _deploy_flows(root, api)
        _automate(root, api)
        return addresses


def deploy(root: Path) -> str:
    """Make pools, queues, deployments and the automation on a server that runs; its API's address.

    Workers are started elsewhere, on the machines that are to run flows.
    Raises: SettingsError: there is no server. StorageError: the flows cannot be deployed.
    """
    api = prefect_api()
    if not api:
        raise SettingsError(
            "environment: PREFECT_API_URL is not set, and no Prefect server of `make up` runs; set "
            "it to the API of your team's server, http://.../api"
        )
    if not answers(f"{api}/health"):
        raise StorageError(f"{api}/health does not answer; is it the API of a Prefect server?")
    set_up_pools(root, api, {})
    _deploy_flows(root, api)
    _automate(root, api)
    return api


def stop_all() -> list[str]:
    """Stop what runs; returns the names of what did."""
    return [name for name in NAMES if stop(name)]


def _cpu_runs() -> int:
    limit = os.environ.get(RUNS_VARIABLE, "1")
    if not limit.isdecimal() or int(limit) < 1:
        raise SettingsError(f"environment: {RUNS_VARIABLE} is {limit!r}, expected a number >= 1")
    return int(limit)


def _begin_mlflow(root: Path) -> Iterator[tuple[str, str]]:
    """Start MLflow, unless another server is named or nothing is tracked; yields its address."""
    record = running("mlflow")
    if os.environ.get("CLOZE_TRACKING") == "off":
        return
    if record or tracking_uri().startswith("http"):
        yield "MLflow", str(record["url"]) if record else shown_uri()
        return
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
    yield "MLflow", url


def _begin_prefect(root: Path) -> str:
    """The API's address: of the server that the environment names, else of one of ours."""
    if named_prefect():
        return named_prefect()
    record = running("prefect")
    if record is None:
        return start_prefect(root, port_of("prefect"), is_kept=True)
    if not record["is_kept"]:  # a run borrowed it: it stays, and that run no longer stops it
        write_json(record_file("prefect"), {**record, "is_kept": True})
    return str(record["url"])


def set_up_pools(root: Path, api: str, limits: Mapping[str, int]) -> None:
    """Create the pools and queues of infra/work-pools.yaml where missing, and set the limits.

    On a server that others share a pool's limit is set when it is made, and theirs afterwards.
    """
    is_shared = bool(named_prefect())
    wanted = read_yaml(root / INFRA / "work-pools.yaml")
    for pool in wanted["pools"]:
        limited = {"concurrency_limit": limits.get(pool) or None}
        post(f"{api}/work_pools/", {"name": pool, "type": "process", **limited}, may_exist=True)
        if not is_shared:
            post(f"{api}/work_pools/{pool}", limited, method="PATCH")
        for queue in wanted["queues"]:
            post(f"{api}/work_pools/{pool}/queues", {"name": queue}, may_exist=True)
        # Behind all creations: a new queue moves the numbers of those that are there.
        for queue, priority in wanted["queues"].items():
            place = f"{api}/work_pools/{pool}/queues/{queue}"
            post(place, {"priority": priority}, method="PATCH")


def _begin_worker(root: Path, api: str, pool: str, limit: int) -> None:
    record = running(_WORKERS[pool])
    if record and record.get("api") != api:  # its server is gone, or another's
        stop(_WORKERS[pool])
    elif record:
        if record["limit"] != limit:
            log.warning(
                "%s runs with limit %d, not %d: flow runs may be under way below it; make down, "
                "then make up, starts it anew",
                *(_WORKERS[pool], record["limit"], limit),
            )
        return
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process"]
    command += ["--pool", pool, "--name", _worker_name(pool), "--limit", str(limit)]
    environment = {**prefect_environment(api), "PYTHONPATH": str(root)}
    start(_WORKERS[pool], command, environment, cwd=root, api=api, limit=limit)


def _is_worker_online(api: str, pool: str) -> bool:
    workers = post(f"{api}/work_pools/{pool}/workers/filter", {})
    mine = [worker for worker in workers if worker["name"] == _worker_name(pool)]
    return any(worker["status"] == "ONLINE" for worker in mine)


def _worker_name(pool: str) -> str:
    """Two machines that serve one server must not share a name."""
    return f"{socket.gethostname()}-{pool}"


def _deploy_flows(root: Path, api: str) -> None:
    environment = {**prefect_environment(api), "CLOZE_CHECKOUT": str(root), "PYTHONPATH": str(root)}
    # A flow that cannot be imported would be deployed all the same, without its form.
    _run(root, environment, "-c", "import pipelines.flows")
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
