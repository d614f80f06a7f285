"""The servers of one machine: MLflow, Prefect and a worker, started once and ended whole.

In: the state root and the environment (CLOZE_MLFLOW_PORT, CLOZE_PREFECT_PORT, CLOZE_HOST). Out:
processes in sessions of their own, each with a record and a log under `<state>/servers/`. They
listen on loopback unless CLOZE_HOST says otherwise, and keep their data under the state root. A run
without a Prefect server borrows one: it starts a real one (Prefect's ephemeral ones time out) and
the last user stops it.
"""

import fcntl
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pipelines import access
from pipelines.environment import child_environment
from pipelines.processes import Patience, process_start, stop_tree
from stages.core.artifacts import read_json, write_json
from stages.core.errors import ArtifactError, SettingsError, StorageError
from stages.core.state import state_root

HOST = access.LOOPBACK
DEFAULT_PORTS = {"mlflow": 5000, "prefect": 4200}
HEARTBEAT_SECONDS = 30
_START_SECONDS = 240.0  # 14 s for a new database on an idle machine
_POLL_SECONDS = 0.25
_BUSY_SECONDS = 60.0  # that the database of a server may be taken by others
_LOG_LINES = 15
# A wrong address and a page in place of JSON are ValueErrors and HTTPExceptions.
NO_ANSWER = (OSError, ValueError, http.client.HTTPException)


def servers_root() -> Path:
    """The folder of records and logs."""
    folder = state_root() / "servers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def prefect_environment(url: str) -> dict[str, str]:
    """What a process needs to talk to the Prefect server at `url`, with its files in our state."""
    return {
        "PREFECT_HOME": str(state_root() / "prefect"),
        "PREFECT_API_URL": url,
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_CLI_PROMPT": "false",
    }


def named_prefect() -> str:
    """The API of the server that PREFECT_API_URL names; empty without one."""
    return os.environ.get("PREFECT_API_URL", "").rstrip("/")


def prefect_api() -> str:
    """The API of the server in use: the one that is named, else of one of ours; empty without."""
    record = running("prefect")
    return named_prefect() or (str(record["url"]) if record else "")


def reach_own_servers() -> None:
    """Let neither this process nor its children ask a proxy for what listens on loopback."""
    others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = ",".join(filter(None, (others, HOST, "localhost")))


@contextmanager
def starting() -> Iterator[None]:
    """Hold the lock under which servers are looked for and started."""
    with (servers_root() / "starting.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def record_file(name: str) -> Path:
    """Where the record of a server is."""
    return servers_root() / f"{name}.json"


def running(name: str) -> dict[str, Any] | None:
    """The record of a server of ours that is alive."""
    path = record_file(name)
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = read_json(path)
    except ArtifactError:  # empty, after the power failed: nothing runs that it could name
        return None
    started = process_start(record["pid"])
    return record if started is not None and started == record["started"] else None


def port_of(name: str) -> int:
    """The port of a server: CLOZE_<NAME>_PORT, else its usual one.

    Raises: SettingsError: the variable is no port, or another program listens there.
    """
    variable = f"CLOZE_{name.upper()}_PORT"
    text = os.environ.get(variable, str(DEFAULT_PORTS[name]))
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise SettingsError(f"environment: {variable} is {text!r}, expected a port, 1 to 65535")
    host = access.bind_host()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(text)))
        except OSError as error:
            raise SettingsError(
                f"port {text} of {host} cannot be taken ({error.strerror}): it is in use by "
                f"another program, or {host} is not of this machine; stop it, or set {variable}"
            ) from error
    return int(text)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def start(
    name: str, command: list[str], environment: Mapping[str, str], *, cwd: Path, **facts: Any
) -> None:
    """Start a server in a session of its own and record it; it need not be ready yet."""
    log = servers_root() / f"{name}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=child_environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    record = {"pid": process.pid, "started": process_start(process.pid), **facts}
    write_json(record_file(name), record)


def wait_until(name: str, is_ready: Callable[[], bool]) -> None:
    """Wait for a server.

    Raises: StorageError: it ended or did not answer in time; the end of its log is shown.
    """
    deadline = time.monotonic() + _START_SECONDS
    while not is_ready():
        is_alive = running(name) is not None
        if not is_alive or time.monotonic() > deadline:
            log = servers_root() / f"{name}.log"
            end = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
            stop(name)
            what = "did not answer in time" if is_alive else "ended at its start"
            raise StorageError(f"{name} {what}; its log {log} ends:\n{end}")
        time.sleep(_POLL_SECONDS)


def stop(name: str) -> bool:
    """End a server and everything below it; True when there was one."""
    record = running(name)
    if record is not None:
        stop_tree(record["pid"], Patience())
    record_file(name).unlink(missing_ok=True)
    return record is not None


def answers(url: str) -> bool:
    """Whether a GET of `url` succeeds."""
    request = urllib.request.Request(url, headers=_credentials(url))  # noqa: S310  http, our own
    try:
        with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310
            return bool(response.status == 200)
    except NO_ANSWER:
        return False


def post(url: str, body: Any, *, method: str = "POST", may_exist: bool = False) -> Any:
    """Send JSON to our own server and read its JSON; None where it has the thing and `may_exist`.

    A server whose database is taken just then says 503: it is asked again.
    Raises: StorageError: it refuses, or does not answer.
    """
    request = urllib.request.Request(  # noqa: S310  http, our own
        url,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **_credentials(url)},
        method=method,
    )
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.CONFLICT and may_exist:
                return None
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                said = error.read().decode(errors="replace")
                raise StorageError(f"{url}: {body} was refused ({error}): {said}") from error
        except NO_ANSWER as error:
            raise StorageError(f"{url} does not answer as it should: {error}") from error
        time.sleep(_POLL_SECONDS)


def _credentials(url: str) -> dict[str, str]:
    """Prefect's alone: MLflow's health is told to everybody."""
    return access.prefect_header() if "/api/" in url else {}


def start_prefect(root: Path, port: int, *, is_kept: bool) -> str:
    """Start the Prefect server without waiting for it; returns its API's address."""
    host = access.bind_host() if is_kept else HOST
    url = f"http://{access.reached_at(host)}:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", host]
    command += ["--port", str(port), "--analytics-off"]
    environment = {**prefect_environment(url), **access.prefect_server_environment()}
    if host != HOST:  # the page of a browser elsewhere asks where it came from
        environment["PREFECT_SERVER_UI_API_URL"] = "/api"
    start("prefect", command, environment, cwd=root, url=url, is_kept=is_kept)
    return url


@contextmanager
def borrowed_prefect(root: Path) -> Iterator[str]:
    """The address of a Prefect server for one run: PREFECT_API_URL, `up`'s, or one for the while.

    Runs that share a server hold a shared lock; the last one stops it, unless `up` started it.
    """
    if named_prefect():
        yield named_prefect()
        return
    with (servers_root() / "prefect.users").open("w") as users:
        with starting():
            fcntl.flock(users, fcntl.LOCK_SH)
            record = running("prefect")
            url = record["url"] if record else start_prefect(root, free_port(), is_kept=False)
            wait_until("prefect", lambda: answers(f"{url}/health"))
        try:
            yield url
        finally:
            with starting():
                _stop_unless_used(users.fileno())


def _stop_unless_used(users: int) -> None:
    record = running("prefect")
    if record is None or record["is_kept"]:
        return
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    stop("prefect")
