"""PostgreSQL, Redis and S3 for the tests of this folder, each started once a worker."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.services.daemons import HOST, Daemon, free_port, listens, require

_OWNER = "postgres"  # PostgreSQL refuses to run as root


def _programs_of_postgres() -> Path:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if folders:
        return folders[-1]
    require("initdb", "postgres")
    return Path(shutil.which("postgres") or "").parent


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[str], str]]:
    """Makes a database on a PostgreSQL of its own: its name -> `user@host:port/name`."""
    programs = _programs_of_postgres()
    user = _OWNER if os.getuid() == 0 else None
    # Not below pytest's own folder: each pytest that starts closes that one to other users.
    root = Path(tempfile.mkdtemp(prefix="cloze-postgres-"))
    data = root / "data"
    if user:
        shutil.chown(root, user)
    command = [str(programs / "initdb"), "-D", str(data), "-U", "cloze", "--auth=trust", "-N"]
    subprocess.run(command, check=True, capture_output=True, user=user, cwd=root)
    port = free_port()
    server = Daemon(
        [
            *(str(programs / "postgres"), "-D", str(data), "-p", str(port)),
            *("-c", f"listen_addresses={HOST}", "-c", f"unix_socket_directories={root}"),
            *("-c", "fsync=off", "-c", "max_connections=200"),
        ],
        root / "log",
        is_ready=lambda: listens(port),
        user=user,
    )

    def database(name: str) -> str:
        address = f"cloze@{HOST}:{port}"
        subprocess.run(
            [
                *(str(programs / "psql"), f"postgresql://{address}/postgres"),
                *("-c", f'CREATE DATABASE "{name}"'),
            ],
            check=True,
            capture_output=True,
        )
        return f"{address}/{name}"

    server.start()
    yield database
    server.stop(signal.SIGINT)
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory) -> Iterator[int]:
    """The port of a Redis server."""
    require("redis-server")
    port = free_port()
    folder = tmp_path_factory.mktemp("redis")
    command = ["redis-server", "--port", str(port), "--bind", HOST, "--save", ""]
    server = Daemon(
        [*command, "--dir", str(folder)], folder / "log", is_ready=lambda: listens(port)
    )
    server.start()
    yield port
    server.stop()


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory) -> Iterator[str]:
    """The address of a server that speaks S3; any key and secret are taken."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    log = tmp_path_factory.mktemp("s3") / "log"
    server = Daemon(command, log, is_ready=lambda: listens(port))
    server.start()
    yield f"http://{HOST}:{port}"
    server.stop()
