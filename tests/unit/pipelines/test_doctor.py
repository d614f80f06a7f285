"""`doctor` finds what was broken on purpose, says what to do, and changes nothing."""

import fcntl
import http.server
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from dvc.fs import LocalFileSystem
from dvc.rwlock import rwlock

from pipelines import access
from pipelines.doctor import machine, services, state
from pipelines.doctor.finding import Level, ok, problem, warning
from pipelines.doctor.report import CHECKS, examine
from pipelines.servers import record_file
from pipelines.workspace import LEASE_FILE, leased
from stages.core.artifacts import write_json
from stages.core.errors import SettingsError
from stages.core.state import checkpoints_root, state_root
from stages.core.tracking.journal import RunJournal
from stages.core.tracking.store import default_uri

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 2**22 + 1  # beyond the largest pid


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    names = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "CLOZE_LAUNCHER", access.HOST_VARIABLE)
    for name in (*names, *access.NEEDED_BEYOND_LOOPBACK):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def checkout(tmp_path):
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    return tmp_path


@contextmanager
def serving(answers):
    """A server that gives `answers[path]` as (status, text), and keeps the headers it got."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(dict(self.headers))
            status, text = answers.get(self.path.partition("?")[0], (404, ""))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


def only(check, root):
    (finding,) = check(root)
    return finding


def test_the_report_has_a_line_for_each_finding_and_code_3_only_with_a_problem(tmp_path):
    text, code = examine(tmp_path, [("a", lambda _: iter([ok("fine")]))])
    assert (text, code) == ("ok       a              fine\n1 checks: 0 problems, 0 warnings\n", 0)
    checks = [
        ("b", lambda _: iter([warning("old", "renew it"), problem("gone", "bring it")])),
        ("a", lambda _: iter([ok("fine")])),
    ]
    text, code = examine(tmp_path, checks)
    assert code == 3
    assert text.splitlines() == [
        "warning  b              old -> renew it",
        "problem  b              gone -> bring it",
        "ok       a              fine",
        "2 checks: 1 problems, 1 warnings",
    ]


def test_an_error_of_ours_is_a_finding_and_shows_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "f3a90b61c27d4e58")

    def check(_):
        yield ok("begun")
        raise SettingsError("params.yaml: a\nparams.yaml: f3a90b61c27d4e58")

    text, code = examine(tmp_path, [("settings", check)])
    assert code == 3
    assert "begun" in text
    assert "problem  settings       params.yaml: a; params.yaml: ***\n" in text


def test_a_check_that_breaks_leaves_the_others_their_lines(tmp_path):
    def broken(root):
        return iter([ok(str(1 // 0))])

    text, code = examine(tmp_path, [("a", broken), ("b", lambda _: iter([ok("fine")]))])
    assert code == 3
    assert "cannot be examined: ZeroDivisionError" in text
    assert "ok       b              fine" in text


def test_packages_of_other_versions_and_missing_ones_are_named(checkout):
    lock = (checkout / "requirements.lock").read_text()
    (checkout / "requirements.lock").write_text(lock.replace("pydantic==", "pydantic==0.0+"))
    project = (checkout / "pyproject.toml").read_text()
    changed = project.replace('"datasketch>=1.9"', '"no-such-thing>=1.9"')
    assert changed != project
    (checkout / "pyproject.toml").write_text(changed)
    missing, other = machine.packages(checkout)
    assert missing.level is Level.PROBLEM
    assert missing.found == "not installed: no-such-thing"
    assert other.level is Level.WARNING
    assert "pydantic" in other.found
    assert "tested: 0.0" in other.found
    assert "pip install -c requirements.lock" in other.advice


def test_a_python_that_is_too_old_is_a_problem(checkout):
    text = (checkout / "pyproject.toml").read_text()
    (checkout / "pyproject.toml").write_text(text.replace('">=3.11"', '">=3.99"'))
    assert only(machine.python, checkout).level is Level.PROBLEM
    assert only(machine.python, ROOT).level is Level.OK


@pytest.mark.parametrize(("devices", "level"), [(2, Level.OK), (0, Level.PROBLEM)])
def test_gpus_that_torch_cannot_use_are_a_problem(tmp_path, monkeypatch, devices, level):
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\necho 'card, 80 MiB, 1 MiB, 550'\necho 'card, 80 MiB, 1 MiB, 550'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(machine, "_COUNT_DEVICES", f"print({devices})")
    finding = only(machine.gpus, tmp_path)
    assert finding.level is level
    assert "card, 80 MiB" in finding.found


@pytest.mark.parametrize(
    ("free", "level"), [(1 << 20, Level.PROBLEM), (5 << 30, Level.WARNING), (1 << 40, Level.OK)]
)
def test_a_disk_without_room_is_told(checkout, monkeypatch, free, level):
    usage = shutil.disk_usage(checkout)._replace(free=free)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage)
    assert [finding.level for finding in machine.disk(checkout)] == [level, level]


def test_the_dvc_cache_is_found_as_dvc_finds_it(checkout):
    config = checkout / ".dvc" / "config"
    assert machine._cache_folder(checkout) == checkout / ".dvc" / "cache"
    config.write_text("['remote \"s3\"']\n    url = s3://b/%20\n[cache]\n    dir = ../.cloze/c\n")
    assert machine._cache_folder(checkout) == checkout / ".cloze" / "c"
    config.with_name("config.local").write_text("[cache]\n    dir = /mnt/c\n")
    assert machine._cache_folder(checkout) == Path("/mnt/c")


def test_a_lease_names_the_process_that_holds_it(checkout):
    assert only(state.leases, checkout) == ok("none is held")
    with leased(checkout):
        assert only(state.leases, checkout) == ok(
            f"process {os.getpid()} holds {checkout / LEASE_FILE}"
        )
    assert only(state.leases, checkout) == ok("none is held")


def test_looking_at_a_lease_never_keeps_a_trainer_out(checkout):
    lease = checkpoints_root() / "pretraining-abc" / "lease"
    lease.parent.mkdir(parents=True)
    lease.write_text("pid 1\n")
    findings = state.leases(checkout)
    next(findings)
    with lease.open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lease_that_orphans_hold_is_a_warning(checkout):
    """The process that took it is gone; one that inherited it goes on."""
    path = checkout / LEASE_FILE
    code = (
        "import fcntl, subprocess, sys\n"
        f"stream = open({str(path)!r}, 'a+')\n"
        "fcntl.flock(stream, fcntl.LOCK_EX)\n"
        "child = subprocess.Popen(['sleep', '600'], pass_fds=[stream.fileno()],"
        " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(child.pid)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    try:
        finding = only(state.leases, checkout)
    finally:
        os.kill(int(result.stdout), 9)
    assert finding.level is Level.WARNING
    assert "started before it died" in finding.found
    assert f"fuser -v {path}" in finding.advice


def test_locks_of_dvc_are_told_from_those_of_dead_commands(checkout):
    file = checkout / ".dvc" / "tmp" / "rwlock"
    with rwlock(str(file.parent), LocalFileSystem(), "repro", ["/a"], ["/b"], False):
        assert only(state.dvc_locks, checkout) == ok(f"dvc process {os.getpid()} works")
        held = file.read_text()
    file.write_text(held.replace(str(os.getpid()), str(NOBODY)))
    left = only(state.dvc_locks, checkout)
    assert f"left over from dead dvc processes {NOBODY}" in left.found
    file.write_text("{")
    assert only(state.dvc_locks, checkout).level is Level.WARNING
    file.unlink()
    assert only(state.dvc_locks, checkout) == ok("none is held")


def test_settings_that_are_wrong_are_named(tmp_path):
    (tmp_path / "params.yaml").write_text("tasks: {}\n")
    text, code = examine(tmp_path, [("settings", state.settings)])
    assert code == 3
    assert "section 'corpus' is missing" in text


def test_a_journal_that_did_not_arrive_is_told_with_the_command(checkout):
    assert only(state.journal, checkout).level is Level.OK
    RunJournal("corpus-1").append(
        "start", run="corpus-1", stage="corpus", item=None, params={}, tags={}, host="h", pid=NOBODY
    )
    finding = only(state.journal, checkout)
    assert finding.level is Level.WARNING
    assert finding.advice == "python -m pipelines replay"


def write_store(revision):
    path = Path(default_uri().removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES (?)", [revision])
    database.close()


def test_a_store_of_another_mlflow_is_a_problem(checkout):
    assert only(services.mlflow_schema, checkout).level is Level.OK
    write_store("0123456789ab")
    finding = only(services.mlflow_schema, checkout)
    assert finding.level is Level.PROBLEM
    assert finding.found == f"0123456789ab, expected {services.head_revision()}"
    assert "mlflow db upgrade" in finding.advice


def test_a_store_of_this_mlflow_is_fine(checkout):
    write_store(services.head_revision())
    assert only(services.mlflow_schema, checkout).level is Level.OK


@pytest.mark.slow
def test_the_newest_migration_is_the_one_that_alembic_finds():
    from alembic.script import ScriptDirectory
    from mlflow.store import db_migrations

    scripts = ScriptDirectory(str(Path(db_migrations.__file__).parent))
    assert services.head_revision() == scripts.get_current_head()


def test_an_mlflow_server_that_is_away_is_a_warning_and_shows_no_password(checkout, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:f3a90b61c27d4e58@127.0.0.1:9")
    finding = only(services.mlflow, checkout)
    assert finding.level is Level.WARNING
    assert "http://ada:***@127.0.0.1:9 does not answer" in finding.found


def test_an_mlflow_server_that_refuses_the_password_is_a_problem(checkout, monkeypatch):
    path = "/api/2.0/mlflow/experiments/get-by-name"
    with serving({path: (401, "")}) as (url, _):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        finding = only(services.mlflow, checkout)
    assert finding.level is Level.PROBLEM
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in finding.advice


def test_the_versions_of_servers_are_compared_with_ours(checkout, monkeypatch):
    ours = services.version("prefect")
    pages = {"/api/admin/version": (200, json.dumps(ours)), "/version": (200, "2.0.0")}
    with serving(pages) as (url, seen):
        monkeypatch.setenv("PREFECT_API_URL", f"{url}/api")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        monkeypatch.setenv(access.PREFECT_CREDENTIALS, "ada:f3a90b61c27d4e58")
        assert only(services.prefect, checkout) == ok(f"{url}/api, version {ours}")
        assert seen[-1]["Authorization"].startswith("Basic ")
        finding = only(services.mlflow, checkout)
    assert finding.level is Level.WARNING
    assert f"is version 2.0.0, here is {services.version('mlflow')}" in finding.found


def test_a_prefect_server_that_is_away_is_a_problem(checkout, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert only(services.prefect, checkout).level is Level.PROBLEM


def test_a_server_that_was_started_here_and_is_gone_is_a_warning(checkout):
    write_json(record_file("prefect"), {"pid": NOBODY, "started": "1", "url": "http://h/api"})
    gone, rest = services.own_servers(checkout)
    assert (gone.level, gone.advice) == (Level.WARNING, "make up")
    assert rest.level is Level.OK


def test_a_launcher_without_its_programs_is_a_problem(checkout, monkeypatch):
    monkeypatch.setenv("PATH", str(checkout))
    assert only(services.launcher, checkout) == ok("local")
    monkeypatch.setenv("CLOZE_LAUNCHER", "slurm")
    assert only(services.launcher, checkout).found.startswith("slurm: sbatch, squeue")
    monkeypatch.setenv("CLOZE_LAUNCHER", "cloud")
    assert "set it to one of local, slurm, kubernetes" in only(services.launcher, checkout).advice


def test_secrets_that_can_be_guessed_read_or_found_in_git_are_told(checkout, monkeypatch):
    assert only(services.secrets, checkout).level is Level.OK
    monkeypatch.setenv("PGPASSWORD", "changeme")
    (checkout / ".dvc" / "config").write_text("url = https://me:word@example.org/x\n")
    (checkout / "infra").mkdir()
    (checkout / "infra" / ".env").write_text("")
    (checkout / "infra" / ".env").chmod(0o644)
    guessed, committed, readable = services.secrets(checkout)
    assert "PGPASSWORD is a password that everybody knows" in guessed.found
    assert committed.found == ".dvc/config holds credentials"
    assert readable.advice == "chmod 600 infra/.env"


def test_every_check_has_a_name_of_its_own_that_fits_its_column():
    names = [name for name, _ in CHECKS]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 14


@pytest.mark.slow
def test_the_command_examines_this_checkout_without_changing_it(monkeypatch, tmp_path):
    before = set(state_root().rglob("*"))
    command = [sys.executable, "-m", "pipelines", "doctor"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode in (0, 3), result.stderr
    for name, _ in CHECKS:
        assert f" {name} " in result.stdout, name
    made = set(state_root().rglob("*")) - before
    assert not [path for path in made if not path.is_dir()]  # at most the folders that it reads
