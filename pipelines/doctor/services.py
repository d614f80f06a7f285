"""Checks of servers, launchers and secrets; nothing waits longer than five seconds."""

import os
import re
import shutil
import sqlite3
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipelines import access
from pipelines.doctor.finding import Finding, ok, problem, warning
from pipelines.servers import NO_ANSWER, prefect_api, running, servers_root
from stages.core.execution import LAUNCHER_VARIABLE, LAUNCHERS, LOCAL
from stages.core.secrets import password_faults, redacted
from stages.core.tracking.store import EXPERIMENT, default_uri, shown_uri, tracking_uri

_SECONDS = 5.0  # a busy server answers late, and would pass for one that is down
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_PROGRAMS = {
    "slurm": ("sbatch", "squeue", "scancel", "scontrol"),
    "kubernetes": ("kubectl",),
}
_SQLITE = "sqlite:///"
_REVISION = re.compile(r"^(down_revision|revision)\b[^=]*= *(.*)$", re.MULTILINE)
_COMMITTED = ("params.yaml", ".dvc/config", "infra/prefect.yaml")
_ENV_FILE = Path("infra") / ".env"


def mlflow(_root: Path) -> Iterator[Finding]:
    """The tracking server answers, takes our password, and is of our version."""
    uri = tracking_uri()
    if not uri.startswith("http"):
        yield ok(f"{shown_uri()}, without a server")
        return
    headers = access.mlflow_header()
    question = f"/api/2.0/mlflow/experiments/get-by-name?experiment_name={EXPERIMENT}"
    code, told = _ask(uri.rstrip("/") + question, headers)
    if code in (_UNAUTHORIZED, _FORBIDDEN):
        advice = f"set {access.MLFLOW_USER} and {access.MLFLOW_PASSWORD}"
        yield problem(f"{shown_uri()} refuses our name and password ({code})", advice)
    elif code not in (200, _NOT_FOUND):
        advice = "start it or correct MLFLOW_TRACKING_URI; runs go on and are shipped later"
        yield warning(f"{shown_uri()} does not answer ({told})", advice)
    else:
        yield _compared("mlflow", shown_uri(), _ask(uri.rstrip("/") + "/version", headers)[1])


def mlflow_schema(_root: Path) -> Iterator[Finding]:
    """The tables of the store are those of the installed MLflow."""
    uri = tracking_uri()
    if uri.startswith("http"):
        yield ok("the server's own matter")
        return
    if uri.startswith(_SQLITE) and not Path(uri.removeprefix(_SQLITE)).is_file():
        yield ok("no store yet: the first run makes it")
        return
    wanted = head_revision()
    try:
        found = _sqlite_revision(uri) if uri.startswith(_SQLITE) else _database_revision(uri)
    except (OSError, sqlite3.Error, RuntimeError) as error:
        yield problem(f"{shown_uri()} cannot be read: {error}", "start or mend the database")
        return
    if found == wanted:
        yield ok(f"{found}, that of mlflow {version('mlflow')}")
    else:
        where = "the store" if uri == default_uri() else "MLFLOW_TRACKING_URI"
        advice = f"copy the database, then: mlflow db upgrade <address of {where}>"
        yield problem(f"{found or 'no tables'}, expected {wanted}", advice)


def head_revision() -> str:
    """The newest of MLflow's migrations, read from its files: importing MLflow takes seconds."""
    spec = find_spec("mlflow")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "store" / "db_migrations" / "versions"
    made: set[str] = set()
    followed: set[str] = set()
    for file in folder.glob("*.py"):
        for name, value in _REVISION.findall(file.read_text(encoding="utf-8")):
            found = re.findall(r"[0-9a-f]{12}", value)
            (made if name == "revision" else followed).update(found)
    (head,) = made - followed
    return head


def prefect(_root: Path) -> Iterator[Finding]:
    """The Prefect server answers, takes our credentials, and is of our version."""
    url = prefect_api()
    if not url:
        yield ok("none: a run starts its own, make up one that stays")
        return
    code, told = _ask(f"{url}/admin/version", access.prefect_header())
    if code == _UNAUTHORIZED:
        advice = f"set {access.PREFECT_CREDENTIALS} to user:password"
        yield problem(f"{redacted(url)} refuses our credentials", advice)
    elif code != 200:
        advice = "start it (make up), or correct PREFECT_API_URL"
        yield problem(f"{redacted(url)} does not answer ({told})", advice)
    else:
        yield _compared("prefect", redacted(url), told)


def own_servers(_root: Path) -> Iterator[Finding]:
    """What `make up` started still runs, and listens where it may."""
    host = access.bind_host()
    names = sorted(file.stem for file in servers_root().glob("*.json"))
    alive = [name for name in names if running(name)]
    dead = sorted(set(names) - set(alive))
    if dead:
        yield warning(f"{', '.join(dead)} was started here and is gone", "make up")
    yield ok(f"of make up: {', '.join(alive) or 'none'}; they listen on {host}")


def launcher(_root: Path) -> Iterator[Finding]:
    """The programs of the launcher are there."""
    name = os.environ.get(LAUNCHER_VARIABLE) or LOCAL
    if name not in LAUNCHERS:
        yield problem(f"CLOZE_LAUNCHER is {name!r}", f"set it to one of {', '.join(LAUNCHERS)}")
        return
    missing = [program for program in _PROGRAMS.get(name, ()) if shutil.which(program) is None]
    if missing:
        advice = "install them, or set CLOZE_LAUNCHER=local"
        yield problem(f"{name}: {', '.join(missing)} not on PATH", advice)
    else:
        yield ok(name)


def secrets(root: Path) -> Iterator[Finding]:
    """No password can be guessed, none is committed, none is readable by others."""
    findings = [problem(fault, "") for fault in password_faults(os.environ)]
    for name in _COMMITTED:
        path = root / name
        if path.is_file() and redacted(text := path.read_text(encoding="utf-8")) != text:
            advice = "take them out, and change them: they are in git's history"
            findings.append(problem(f"{name} holds credentials", advice))
    file = root / _ENV_FILE
    if file.is_file() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        findings.append(warning(f"{_ENV_FILE} can be read by others", f"chmod 600 {_ENV_FILE}"))
    yield from findings or [ok("none that can be guessed, none in committed settings")]


def _compared(package: str, where: str, told: str) -> Finding:
    """A server's version against the installed one's."""
    theirs = told.strip().strip('"')
    try:
        ours = version(package)
    except PackageNotFoundError:
        return problem(f"{package} is not installed", "pip install -c requirements.lock '.[all]'")
    if theirs == ours:
        return ok(f"{where}, version {theirs}")
    advice = "run both from the same requirements.lock"
    return warning(f"{where} is version {theirs}, here is {ours}", advice)


def _ask(url: str, headers: Mapping[str, str]) -> tuple[int, str]:
    """Status and text of a GET; status 0 with the reason where nobody answers."""
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310  from the environment
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as response:  # noqa: S310
            return int(response.status), response.read(1000).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, f"status {error.code}"
    except NO_ANSWER as error:
        return 0, str(getattr(error, "reason", error))


def _sqlite_revision(uri: str) -> str | None:
    path = Path(uri.removeprefix(_SQLITE))
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        try:
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return str(row[0]) if row else None


def _database_revision(uri: str) -> str | None:
    """The same of any other database.

    Raises: RuntimeError: it does not answer, or its driver is missing.
    """
    import sqlalchemy

    options: dict[str, Any] = {"connect_timeout": int(_SECONDS)}
    try:
        engine = sqlalchemy.create_engine(uri, connect_args=options)
        with engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table("alembic_version"):
                return None
            row = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version"))
            return str(row.scalar_one())
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        raise RuntimeError(redacted(str(error).splitlines()[0])) from error
