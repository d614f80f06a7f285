"""Real services as processes of a test: started on free ports of the loopback, ended whole."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

HOST = "127.0.0.1"
_PATIENCE_SECONDS = 120.0


def require(*programs: str) -> None:
    """Skip the test, naming the programs that this machine lacks."""
    path = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
    missing = [name for name in programs if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (infra/install-test-services.sh)")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody accepts connections at the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


class Daemon:
    """One server in a session of its own, with a log; it can be stopped and started again."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        is_ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.log = log
        self._command = list(command)
        self._is_ready = is_ready
        self._environment = {**os.environ, **(environment or {})}
        self._user = user
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Daemon":
        """Start it and wait until it is ready; the end of its log tells why it is not."""
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                env=self._environment,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
            )
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"{self._command}: {self.log.read_text()[-3000:]}")
            time.sleep(0.1)
        return self

    def stop(self, number: int = signal.SIGKILL) -> None:
        """End it and what it started in its session."""
        if self.process is None or self.process.poll() is not None:
            return
        os.killpg(self.process.pid, number)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
