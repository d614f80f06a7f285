"""Secrets: kept out of logs, journal, MLflow and records, and refused where they can be guessed.

They come from the environment (or from Prefect's blocks, which become environment). This is the one
place that knows what is secret: the values of variables whose names say so, credentials inside
addresses, and tokens of a known form. Everything that a stage logs or journals passes `redacted`.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from stages.core.errors import SettingsError

HIDDEN = "***"
SHORTEST_PASSWORD = 12
_SHORTEST_HIDDEN = 8  # a shorter value is a word that stands in ordinary text too
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|PGPASSWORD|TOKEN|SECRET|SECRET_KEY|ACCESS_KEY|ACCESS_KEY_ID|API_KEY"
    r"|PRIVATE_KEY|AUTH_STRING|REDISCLI_AUTH)$"
)
# What people choose themselves and others guess; keys that a program makes are not looked at.
_PASSWORD_NAME = re.compile(r"(?:PASSWORD|PASSWD|AUTH_STRING|REDISCLI_AUTH|SERVER_SECRET_KEY)$")
_GUESSABLE = frozenset(
    {
        "admin",
        "administrator",
        "change",
        "changeit",
        "changeme",
        "changethis",
        "cloze",
        "default",
        "guest",
        "letmein",
        "minio",
        "minioadmin",
        "mlflow",
        "password",
        "passw0rd",
        "postgres",
        "prefect",
        "qwerty",
        "qwertyuiop",
        "redis",
        "root",
        "secret",
        "test",
        "testing",
        "user",
        "welcome",
    }
)
_HIDING = (
    # credentials of any address; a lone user of http(s) is a token, of others a name
    (re.compile(r"(\b[a-zA-Z][\w+.-]*://[^\s/:@'\"]*):[^\s/'\"]*@"), rf"\1:{HIDDEN}@"),
    (re.compile(r"(\bhttps?://)[^\s/:@'\"]+@"), rf"\1{HIDDEN}@"),
    (
        re.compile(
            r"(?i)([?&;\s](?:password|passwd|token|access_token|api_key|sig|x-amz-signature"
            r"|x-amz-credential|x-amz-security-token)=)[^\s&;'\"]+"
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer)\s+)[^\s'\"]+"),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(r"\b(?:hf_\w{20,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16})\b"),
        HIDDEN,
    ),
)


def redacted(text: str) -> str:
    """The text with every secret of the environment and every credential replaced by `***`."""
    for value in _values_to_hide():
        text = text.replace(value, HIDDEN)
    for pattern, shown in _HIDING:
        text = pattern.sub(shown, text)
    return text


def redacted_values(value: Any) -> Any:
    """The same for every text within nested mappings and lists; other values stay as they are."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {name: redacted_values(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_values(item) for item in value]
    return value


def check_passwords(names: Mapping[str, str] | None = None) -> None:
    """Refuse passwords that can be guessed: too short, or a known default.

    Raises: SettingsError: names the variables, never a value.
    """
    faults = list(password_faults(os.environ if names is None else names))
    if faults:
        raise SettingsError("\n".join(faults))


def password_faults(environment: Mapping[str, str]) -> Iterator[str]:
    """One sentence for each variable whose password can be guessed."""
    for name, text in sorted(environment.items()):
        if _PASSWORD_NAME.search(name) and text:
            value = text.partition(":")[2] if name.endswith("AUTH_STRING") else text
            if value.lower().strip("0123456789!?._-") in _GUESSABLE or len(set(value)) < 4:
                found = "a password that everybody knows"
            elif len(value) < SHORTEST_PASSWORD:
                found = f"{len(value)} characters long"
            else:
                continue
            yield (
                f"environment: {name} is {found}, expected at least {SHORTEST_PASSWORD} characters "
                "that nobody can guess; make one: openssl rand -hex 24"
            )


def _values_to_hide() -> list[str]:
    """Secret values of the environment, the longest first."""
    values = set()
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_HIDDEN:
            values.add(value)
            password = value.partition(":")[2] if name.endswith("AUTH_STRING") else ""
            values |= {password} if len(password) >= _SHORTEST_HIDDEN else set()
    return sorted(values, key=len, reverse=True)
