"""An `mlflow server` on loopback that a test starts and stops."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

_PATIENCE_SECONDS = 120.0


class MlflowServer:
    """Its store is SQLite in `folder`, or below another URI; its port stays the same.

    Artifacts go through it to `artifacts`, a folder or an address. `options` are more of its
    command's, `environment` what it alone knows.
    """

    def __init__(
        self,
        folder: Path,
        store_uri: str | None = None,
        *,
        artifacts: str | None = None,
        options: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self._command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        self._command += ["--port", str(self.port), "--workers", "1", "--backend-store-uri"]
        self._command += [store_uri or f"sqlite:///{folder}/served.db"]
        self._command += ["--artifacts-destination", artifacts or str(folder / "served"), *options]
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start it unless it runs, and wait until it answers; returns its address."""
        if self._process is not None and self._process.poll() is None:
            return self.url
        fixed = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment = {**os.environ, **fixed, **self._environment}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, start_new_session=True, env=environment
            )
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self.url
            time.sleep(0.1)
        raise AssertionError(self.log.read_text()[-2000:])

    def stop(self) -> None:
        """Kill it, its children too."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
