"""A Prefect server on PostgreSQL and Redis, and what tests ask of it over its API."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.services.daemons import HOST, Daemon, free_port

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
_PATIENCE_SECONDS = 600.0  # two runs on two cores that other tests use too


def server_environment(database: str, redis_port: int, home: Path) -> dict[str, str]:
    """Several servers could share these: state in PostgreSQL, messages and leases in Redis."""
    redis = {
        "PREFECT_SERVER_EVENTS_MESSAGING_BROKER": "prefect_redis.messaging",
        "PREFECT_SERVER_EVENTS_MESSAGING_CACHE": "prefect_redis.messaging",
        "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
        "PREFECT_REDIS_MESSAGING_HOST": HOST,
        "PREFECT_REDIS_MESSAGING_PORT": str(redis_port),
        "PREFECT_REDIS_MESSAGING_PUBLISHER_BATCH_SIZE": "1",  # as infra/ has it
        "PREFECT_SERVER_DOCKET_URL": f"redis://{HOST}:{redis_port}/1",
    }
    return {
        **redis,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{database}",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


class Server:
    """The server's process and its API."""

    def __init__(self, database: str, redis_port: int, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}/api"
        self._client = httpx.Client(base_url=self.url, timeout=30)
        command = [sys.executable, "-m", "prefect", "server", "start", "--analytics-off"]
        self._daemon = Daemon(
            [*command, "--host", HOST, "--port", str(self.port)],
            folder / "prefect.log",
            is_ready=self._is_healthy,
            environment={
                **server_environment(database, redis_port, folder / "prefect"),
                "PREFECT_UI_API_URL": self.url,
            },
        )

    def start(self) -> "Server":
        self._daemon.start()
        return self

    def stop(self) -> None:
        self._client.close()
        self._daemon.stop()

    def _is_healthy(self) -> bool:
        try:
            return self._client.get("/health").status_code == 200
        except httpx.HTTPError:
            return False

    def get(self, path: str) -> Any:
        return self._client.get(path).raise_for_status().json()

    def post(self, path: str, body: Any) -> Any:
        return self._client.post(path, json=body).raise_for_status().json()

    def put(self, path: str, body: Any) -> None:
        self._client.put(path, json=body).raise_for_status()

    def deployment(self, name: str) -> dict[str, Any]:
        """A deployment by its name, `flow/deployment`."""
        return self.get(f"/deployments/name/{name}")

    def run(
        self, name: str, parameters: dict[str, Any], environment: dict[str, str] | None = None
    ) -> str:
        """Start a run of a deployment, with more variables than its worker has; returns its id."""
        place = f"/deployments/{self.deployment(name)['id']}/create_flow_run"
        variables = {"env": environment} if environment else {}
        return self.post(place, {"parameters": parameters, "job_variables": variables})["id"]

    def wait_for(self, what: Callable[[], Any], because: Callable[[], str] = lambda: "") -> Any:
        """Ask until the answer is truthy, and return it."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (found := what()):
            assert time.monotonic() < deadline, f"waited in vain; {because()}"
            time.sleep(0.3)
        return found

    def state(self, run: str) -> dict[str, Any]:
        return self.get(f"/flow_runs/{run}")["state"]

    def ended(self, run: str) -> str:
        """Wait for a run's end; returns the name of its state."""
        self.wait_for(lambda: self.state(run)["type"] in FINAL, lambda: self.log(run)[-3000:])
        return self.state(run)["name"]

    def tasks(self, run: str) -> dict[str, str]:
        """Task run of a run that has ended -> the name of its state, which arrives as an event."""
        wanted = {"flow_runs": {"id": {"any_": [run]}}}

        def all_ended() -> list[dict[str, Any]]:
            found = self.post("/task_runs/filter", wanted)
            return found if all(task["state_type"] in FINAL for task in found) else []

        return {task["name"]: task["state_name"] for task in self.wait_for(all_ended)}

    def log(self, run: str) -> str:
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        lines: list[str] = []
        while True:
            page = self.post("/logs/filter", {**wanted, "offset": len(lines)})
            lines += [entry["message"] for entry in page]
            if not page:
                return "\n".join(lines)

    def artifacts(self, run: str) -> dict[str, Any]:
        """Key -> data of the artifacts of a run."""
        found = self.post("/artifacts/filter", {"flow_runs": {"id": {"any_": [run]}}})
        return {artifact["key"]: artifact["data"] for artifact in found}

    def cancel(self, run: str) -> None:
        self.post(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
