"""Who may reach the servers that `up` starts: their bind address, and the passwords they ask for.

In: the environment. CLOZE_HOST is the address that MLflow and Prefect listen on, loopback without
it; beyond loopback both must ask for a password. Clients and servers use the same variables:
MLFLOW_TRACKING_USERNAME with MLFLOW_TRACKING_PASSWORD, PREFECT_API_AUTH_STRING (`user:password`).

    python -m pipelines.access    exit code 2 where a password of the environment can be guessed
"""

import base64
import ipaddress
import logging
import os
import sys
from pathlib import Path

from stages.core.errors import SettingsError
from stages.core.logs import set_up_logging
from stages.core.secrets import check_passwords

LOOPBACK = "127.0.0.1"
HOST_VARIABLE = "CLOZE_HOST"
PREFECT_CREDENTIALS = "PREFECT_API_AUTH_STRING"
MLFLOW_USER, MLFLOW_PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
MLFLOW_COOKIE_KEY = "MLFLOW_FLASK_SERVER_SECRET_KEY"
NEEDED_BEYOND_LOOPBACK = (MLFLOW_USER, MLFLOW_PASSWORD, MLFLOW_COOKIE_KEY, PREFECT_CREDENTIALS)

log = logging.getLogger(__name__)


def bind_host() -> str:
    """The address that the servers listen on.

    Raises: SettingsError: it is none, or lies beyond loopback and a password is missing or weak.
    """
    host = os.environ.get(HOST_VARIABLE) or LOOPBACK
    if not _is_loopback(host):
        missing = [name for name in NEEDED_BEYOND_LOOPBACK if not os.environ.get(name)]
        if missing:
            raise SettingsError(
                f"environment: {HOST_VARIABLE} is {host}, which others can reach, and "
                f"{', '.join(missing)} not set; set them (docs/servers.md), or leave "
                f"{HOST_VARIABLE} away"
            )
        check_passwords()
    return host


def reached_at(host: str) -> str:
    """The address at which this machine reaches a server that listens on `host`."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  compared, not bound
        return LOOPBACK if host == "0.0.0.0" else "[::1]"  # noqa: S104
    return f"[{host}]" if ":" in host else host


def prefect_header() -> dict[str, str]:
    """The header that Prefect's API asks for; empty without PREFECT_API_AUTH_STRING."""
    return _basic(os.environ.get(PREFECT_CREDENTIALS, ""))


def mlflow_header() -> dict[str, str]:
    """The header that MLflow asks for; empty without MLFLOW_TRACKING_PASSWORD."""
    name, password = (os.environ.get(variable, "") for variable in (MLFLOW_USER, MLFLOW_PASSWORD))
    return _basic(f"{name}:{password}" if password else "")


def prefect_server_environment() -> dict[str, str]:
    """Lets a Prefect server ask for the credentials that its clients have."""
    credentials = os.environ.get(PREFECT_CREDENTIALS)
    return {"PREFECT_SERVER_API_AUTH_STRING": credentials} if credentials else {}


def mlflow_access(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Options and environment with which `mlflow server` asks for a password; empty without one.

    Users are kept in `folder`; whom the administrator adds may read, and write what is theirs.
    Raises: SettingsError: the password is weak, or MLflow's other variables are missing.
    """
    password = os.environ.get(MLFLOW_PASSWORD)
    if not password:
        return [], {}
    check_passwords()
    missing = [name for name in (MLFLOW_USER, MLFLOW_COOKIE_KEY) if not os.environ.get(name)]
    if missing:
        raise SettingsError(
            f"environment: {MLFLOW_PASSWORD} is set and {', '.join(missing)} not; set all three "
            "(docs/servers.md)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "auth.ini"
    settings.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/auth.db\n",
        encoding="utf-8",
    )
    return ["--app-name", "basic-auth"], {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_AUTH_ADMIN_USERNAME": os.environ[MLFLOW_USER],
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
    }


def _basic(credentials: str) -> dict[str, str]:
    encoded = base64.b64encode(credentials.encode()).decode()
    return {"Authorization": f"Basic {encoded}"} if credentials else {}


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise SettingsError(
            f"environment: {HOST_VARIABLE} is {host!r}, expected an IP address of this machine, "
            "such as 127.0.0.1, or 0.0.0.0 for all"
        ) from None


def main() -> int:
    """Check the passwords of the environment, before a server starts with them."""
    set_up_logging("access")
    try:
        check_passwords()
    except SettingsError as error:
        log.error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
