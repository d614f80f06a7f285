"""Servers of one machine, with a stand-in: recorded, waited for, ended whole."""

import os
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipelines import servers, up
from stages.core.errors import SettingsError, StorageError

SERVE = (
    "import sys, http.server as h\n"
    "h.HTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()"
)
SLEEP = "import time; time.sleep(600)"


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("CLOZE_STATE", str(tmp_path / "state"))
    (tmp_path / "served").mkdir()
    yield
    servers.stop("mlflow")


def start(tmp_path, code, *arguments):
    command = [sys.executable, "-c", code, *arguments]
    servers.start("mlflow", command, {}, cwd=tmp_path / "served", url="here")


def test_a_server_is_recorded_waited_for_and_stopped(tmp_path):
    port = servers.free_port()
    start(tmp_path, SERVE, str(port))
    url = f"http://127.0.0.1:{port}/"
    servers.wait_until("mlflow", lambda: servers.answers(url))
    assert servers.running("mlflow")["url"] == "here"
    assert servers.stop("mlflow")
    assert servers.running("mlflow") is None
    assert not servers.answers(url)
    assert not servers.stop("mlflow")


def test_a_server_that_ends_at_once_is_reported_with_its_log(tmp_path):
    start(tmp_path, "raise SystemExit('no table alembic_version')")
    with pytest.raises(StorageError, match=r"ended at its start.*\n.*no table alembic_version"):
        servers.wait_until("mlflow", lambda: False)


@pytest.mark.parametrize("started", ["0", None])  # None: it had ended before it was looked at
def test_a_record_of_a_dead_process_is_no_server(tmp_path, started):
    start(tmp_path, "pass")
    record = servers.read_json(servers.record_file("mlflow"))
    while servers.process_start(record["pid"]):
        time.sleep(0.01)
    servers.write_json(servers.record_file("mlflow"), {**record, "started": started})
    assert servers.running("mlflow") is None


def test_a_taken_port_is_refused_with_the_variable(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("CLOZE_MLFLOW_PORT", str(taken.getsockname()[1]))
        with pytest.raises(SettingsError, match=r"in use by another program.*CLOZE_MLFLOW_PORT"):
            servers.port_of("mlflow")


@pytest.mark.parametrize("text", ["http", "0", "70000", "-1"])
def test_a_port_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv("CLOZE_PREFECT_PORT", text)
    with pytest.raises(SettingsError, match="expected a port, 1 to 65535"):
        servers.port_of("prefect")


def test_deploying_needs_a_server_and_says_which_variable_names_it(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(SettingsError, match=r"PREFECT_API_URL is not set.*make up"):
        up.deploy(tmp_path)
    nobody = f"http://127.0.0.1:{servers.free_port()}/api"
    monkeypatch.setenv("PREFECT_API_URL", nobody)
    with pytest.raises(StorageError, match=f"{nobody}/health does not answer"):
        up.deploy(tmp_path)


@pytest.fixture
def answering():
    """Starts a server that gives these (status, body) one after the other; its address."""
    started = []

    def serve(*replies):
        left = iter(replies)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                status, body = next(left)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        started.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=started[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{started[-1].server_port}/api/things"

    yield serve
    for server in started:
        server.shutdown()
        server.server_close()


def test_a_server_whose_database_is_busy_is_asked_again(answering):
    url = answering((503, b"busy"), (503, b"busy"), (200, b'{"id": 1}'))
    assert servers.post(url, {}) == {"id": 1}


def test_what_exists_may_be_made_again_where_that_is_allowed(answering):
    assert servers.post(answering((409, b"there")), {}, may_exist=True) is None
    with pytest.raises(StorageError, match=r"things: \{'name': 'a'\} was refused.*409.*there"):
        servers.post(answering((409, b"there")), {"name": "a"})


def test_a_server_that_is_busy_for_too_long_or_away_is_reported(answering, monkeypatch):
    monkeypatch.setattr(servers, "_BUSY_SECONDS", 0.0)
    with pytest.raises(StorageError, match=r"refused.*503.*busy"):
        servers.post(answering((503, b"busy")), {})
    nobody = f"http://127.0.0.1:{servers.free_port()}/api"
    with pytest.raises(StorageError, match=f"{nobody} does not answer"):
        servers.post(nobody, {})


def test_a_page_in_place_of_json_and_a_wrong_address_are_reported(answering):
    with pytest.raises(StorageError, match="does not answer as it should"):
        servers.post(answering((200, b"<html>Sign in</html>")), {})
    with pytest.raises(StorageError, match=r"does not answer as it should.*port"):
        servers.post("http://127.0.0.1:port/api/things", {})
    assert not servers.answers("http://127.0.0.1:port/api/health")


def test_a_record_that_a_power_failure_emptied_is_no_server_and_goes_away():
    servers.record_file("mlflow").touch()
    assert servers.running("mlflow") is None
    assert not servers.stop("mlflow")
    assert not servers.record_file("mlflow").exists()


@pytest.mark.parametrize("others", ["", "example.org"])
def test_own_servers_are_reached_past_a_proxy(tmp_path, monkeypatch, others):
    nobody = f"http://127.0.0.1:{servers.free_port()}"
    monkeypatch.setenv("http_proxy", nobody)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", others)
    port = servers.free_port()
    start(tmp_path, SERVE, str(port))
    servers.reach_own_servers()
    servers.wait_until("mlflow", lambda: servers.answers(f"http://127.0.0.1:{port}/"))
    assert others in os.environ["no_proxy"]


def test_an_empty_address_names_no_server(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "")
    assert servers.named_prefect() == ""
    monkeypatch.setenv("PREFECT_API_URL", "http://a.example/api/")
    assert servers.named_prefect() == "http://a.example/api"


def test_a_worker_is_begun_anew_for_another_server_and_told_of_another_limit(
    tmp_path, monkeypatch, caplog
):
    started = []

    def stand_in(name, _command, _environment, *, cwd, **facts):
        started.append(facts)
        servers.start(name, [sys.executable, "-c", SLEEP], {}, cwd=cwd, **facts)

    monkeypatch.setattr(up, "start", stand_in)
    try:
        up._begin_worker(tmp_path, "http://a/api", up.CPU_POOL, 1)
        first = servers.running("worker-cpu")
        up._begin_worker(tmp_path, "http://a/api", up.CPU_POOL, 3)
        assert servers.running("worker-cpu") == first
        assert "worker-cpu runs with limit 1, not 3" in caplog.text
        up._begin_worker(tmp_path, "http://b/api", up.CPU_POOL, 3)
    finally:
        servers.stop("worker-cpu")
    assert [(one["api"], one["limit"]) for one in started] == [
        ("http://a/api", 1),
        ("http://b/api", 3),
    ]
