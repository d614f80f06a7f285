"""Servers stay on loopback, or ask for a password that nobody can guess."""

import base64
import subprocess
import sys

import pytest

from pipelines import access, servers
from stages.core.errors import SettingsError

GOOD = "f3a90b61c27d4e58"


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv(access.MLFLOW_USER, "ada")
    monkeypatch.setenv(access.MLFLOW_PASSWORD, GOOD)
    monkeypatch.setenv(access.MLFLOW_COOKIE_KEY, GOOD)
    monkeypatch.setenv(access.PREFECT_CREDENTIALS, f"ada:{GOOD}")


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch):
    for name in (access.HOST_VARIABLE, *access.NEEDED_BEYOND_LOOPBACK):
        monkeypatch.delenv(name, raising=False)


def test_servers_bind_to_loopback_unless_told_otherwise(monkeypatch):
    assert access.bind_host() == "127.0.0.1"
    monkeypatch.setenv(access.HOST_VARIABLE, "::1")
    assert access.bind_host() == "::1"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_an_address_beyond_loopback_is_refused_without_passwords(monkeypatch, host):
    monkeypatch.setenv(access.HOST_VARIABLE, host)
    with pytest.raises(
        SettingsError, match=r"others can reach, and MLFLOW_TRACKING_USERNAME, .*AUTH"
    ):
        access.bind_host()


@pytest.mark.usefixtures("credentials")
def test_an_address_beyond_loopback_is_taken_with_passwords(monkeypatch):
    monkeypatch.setenv(access.HOST_VARIABLE, "0.0.0.0")
    assert access.bind_host() == "0.0.0.0"
    assert access.reached_at("0.0.0.0") == "127.0.0.1"
    assert access.reached_at("192.168.1.5") == "192.168.1.5"
    assert access.reached_at("fd00::5") == "[fd00::5]"


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    ("name", "value"),
    [(access.MLFLOW_PASSWORD, "password1234"), (access.PREFECT_CREDENTIALS, "admin:changeme")],
)
def test_an_address_beyond_loopback_is_refused_with_a_default_password(monkeypatch, name, value):
    monkeypatch.setenv(access.HOST_VARIABLE, "0.0.0.0")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name} is a password that everybody knows"):
        access.bind_host()


def test_a_host_that_is_no_address_is_refused(monkeypatch):
    monkeypatch.setenv(access.HOST_VARIABLE, "everywhere")
    with pytest.raises(SettingsError, match=r"CLOZE_HOST is 'everywhere', expected an IP address"):
        access.bind_host()


def test_mlflow_asks_for_a_password_where_one_is_set(monkeypatch, tmp_path):
    assert access.mlflow_access(tmp_path) == ([], {})
    monkeypatch.setenv(access.MLFLOW_PASSWORD, GOOD)
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_USERNAME, MLFLOW_FLASK_SERVER_SECRET"):
        access.mlflow_access(tmp_path)


@pytest.mark.usefixtures("credentials")
def test_the_password_of_mlflow_is_in_no_file_and_on_no_command_line(tmp_path):
    options, environment = access.mlflow_access(tmp_path)
    assert options == ["--app-name", "basic-auth"]
    assert environment["MLFLOW_AUTH_ADMIN_PASSWORD"] == GOOD
    assert GOOD not in (tmp_path / "auth.ini").read_text()


def test_the_credentials_of_prefect_go_to_its_api_alone(monkeypatch):
    assert access.prefect_header() == access.prefect_server_environment() == {}
    monkeypatch.setenv(access.PREFECT_CREDENTIALS, f"ada:{GOOD}")
    encoded = base64.b64encode(f"ada:{GOOD}".encode()).decode()
    assert servers._credentials("http://h/api/flows") == {"Authorization": f"Basic {encoded}"}
    assert servers._credentials("http://h/health") == {}
    assert access.prefect_server_environment() == {"PREFECT_SERVER_API_AUTH_STRING": f"ada:{GOOD}"}


def test_the_check_before_a_start_ends_with_the_code_of_wrong_settings(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "postgres")
    command = [sys.executable, "-m", "pipelines.access"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "PGPASSWORD is a password that everybody knows" in result.stderr
