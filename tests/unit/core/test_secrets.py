"""Secrets stay out of what is written, and guessable passwords are refused."""

import json
import logging
import subprocess
import sys

import pytest

from stages.core.errors import SettingsError
from stages.core.logs import set_up_logging
from stages.core.secrets import check_passwords, password_faults, redacted, redacted_values
from stages.core.tracking.journal import RunJournal

GOOD = "f3a90b61c27d4e58"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:pa:ss@db:5432/x failed", "postgresql://me:***@db:5432/x failed"),
        ("postgresql+psycopg2://me:p@ss@db/x", "postgresql+psycopg2://me:***@db/x"),
        ("redis://:word@cache:6379/0", "redis://:***@cache:6379/0"),
        ("https://mytoken@example.org/a.git", "https://***@example.org/a.git"),
        ("https://me:mytoken@example.org/a.git", "https://me:***@example.org/a.git"),
        ("postgresql://me@db/x", "postgresql://me@db/x"),
        ("ssh://git@example.org/a.git", "ssh://git@example.org/a.git"),
        (
            "see https://example.org/a?x=1&token=abc&y=2",
            "see https://example.org/a?x=1&token=***&y=2",
        ),
        ("host=db password=abc dbname=x", "host=db password=*** dbname=x"),
        ("'Authorization': 'Bearer abc.def'", "'Authorization': 'Bearer ***'"),
        ("hf_abcdefghijklmnopqrstuvwx is read", "*** is read"),
        ("12:30 step number=4 loss=2.1", "12:30 step number=4 loss=2.1"),
        ("mail me@example.org at 12:30", "mail me@example.org at 12:30"),
        ("a file:///tmp/a:b and x@y", "a file:///tmp/a:b and x@y"),
    ],
)
def test_credentials_within_a_text_are_hidden_and_the_rest_stays(text, shown):
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "name",
    [
        "MLFLOW_TRACKING_PASSWORD",
        "PGPASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "HF_TOKEN",
        "MLFLOW_FLASK_SERVER_SECRET_KEY",
        "REDISCLI_AUTH",
    ],
)
def test_the_value_of_a_secret_variable_is_hidden_wherever_it_stands(monkeypatch, name):
    monkeypatch.setenv(name, "verysecret/value")
    assert redacted("it is verysecret/value, twice: verysecret/value") == "it is ***, twice: ***"


def test_a_user_and_password_in_one_variable_are_hidden_together_and_apart(monkeypatch):
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", f"admin:{GOOD}")
    assert redacted(f"admin:{GOOD} or {GOOD}") == "*** or ***"


def test_variables_that_only_sound_like_secrets_are_left_alone(monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false-value")
    monkeypatch.setenv("CLOZE_SECRETARY", "somebody-else")
    assert redacted("false-value somebody-else") == "false-value somebody-else"


def test_short_values_are_not_cut_out_of_ordinary_words(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "loss")
    assert redacted("loss=2.1") == "loss=2.1"


def test_nested_values_keep_their_shape():
    nested = {"a": ["redis://:x@h", 1], "b": {"c": None}}
    assert redacted_values(nested) == {"a": ["redis://:***@h", 1], "b": {"c": None}}


def test_no_secret_enters_the_journal(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", GOOD)
    journal = RunJournal("run")
    journal.start(
        "corpus",
        params={"input": "https://me:word@example.org/a.gz", "inner": {"key": GOOD}},
        tags={"git.remote": "https://token@example.org/a.git"},
    )
    journal.tags({"cloze.error": f"StorageError: {GOOD} is refused"})
    journal.metrics({"loss": 1.5}, step=3)
    text = journal.path.read_text()
    assert GOOD not in text
    assert "word@" not in text
    assert "token@" not in text
    events = [json.loads(line) for line in text.splitlines()]
    assert events[0]["params"] == {"input": "https://me:***@example.org/a.gz", "inner.key": "***"}
    assert events[2]["values"] == {"loss": 1.5}


def test_no_secret_enters_the_log(monkeypatch, capsys):
    handlers, hook = logging.getLogger().handlers[:], sys.excepthook
    monkeypatch.setenv("HF_TOKEN", GOOD)
    try:
        set_up_logging("corpus")
        logging.getLogger("stages.corpus").info("asked with %s", GOOD)
        try:
            raise ValueError(GOOD)
        except ValueError:
            logging.getLogger("stages.corpus").exception("failed")
    finally:
        logging.getLogger().handlers[:], sys.excepthook = handlers, hook
    said = capsys.readouterr().err
    assert GOOD not in said
    assert "asked with ***" in said
    assert "ValueError: ***" in said


def test_the_traceback_of_a_bug_holds_no_secret(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", GOOD)
    code = (
        "import os\nfrom stages.core.logs import set_up_logging\nset_up_logging('corpus')\n"
        "raise ValueError('sent ' + os.environ['HF_TOKEN'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "ValueError: sent ***" in result.stderr
    assert GOOD not in result.stderr


@pytest.mark.parametrize(
    "value",
    ["password1234", "Admin", "changeme", "changeme123", "minioadmin", "postgres", "111111111111"],
)
def test_passwords_that_everybody_knows_are_refused(value):
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_PASSWORD is a password that every"):
        check_passwords({"MLFLOW_TRACKING_PASSWORD": value})


def test_short_passwords_are_refused_without_showing_them():
    with pytest.raises(SettingsError, match=r"10 characters long, expected at least 12") as raised:
        check_passwords({"PREFECT_API_AUTH_STRING": "admin:x7Zq9kQw4v"})
    assert "x7Zq9kQw4v" not in str(raised.value)


def test_long_passwords_and_keys_that_programs_make_pass():
    given = {
        "MLFLOW_TRACKING_PASSWORD": GOOD,
        "PREFECT_API_AUTH_STRING": f"admin:{GOOD}",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "PGPASSWORD": "",
    }
    assert list(password_faults(given)) == []
