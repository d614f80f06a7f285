import json
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import SettingsError, TrackingError
from stages.registration import commands
from tests.unit.registration.shelf import ENCODER, Shelf

PARAMS = """\
evaluation: {macro_score_leaves_out: [WNLI]}
registration:
  encoder_name: cloze-encoder
  task_prefix: cloze-
  alias: candidate
  promote_when: {min_macro_gain: 0.0, min_probability: 0.95, max_task_loss: 0.02}
"""


@pytest.fixture
def settings(state: Path) -> None:
    Path("params.yaml").write_text(PARAMS)


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("name", ["promote", "rollback"])
def test_a_reason_must_be_given_and_say_something(name: str, settings: None) -> None:
    with pytest.raises(SystemExit):
        commands.COMMANDS[name]([])
    with pytest.raises(SettingsError, match="--reason is empty"):
        commands.COMMANDS[name](["--reason", "  "])


@pytest.mark.parametrize("evaluation", ["{}", "{macro_score_leaves_out: WNLI}", "null"])
def test_the_gate_asks_for_the_macro_scores_rule(evaluation: str, settings: None) -> None:
    file = Path("params.yaml")
    file.write_text(file.read_text().replace("{macro_score_leaves_out: [WNLI]}", evaluation))
    with pytest.raises(SettingsError, match=r"params.yaml: evaluation.macro_score_leaves_out is "):
        commands.gate(["--out", "reports"])


def test_an_unreachable_registry_is_said(settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match="start the server"):
        commands.gate(["--out", "reports"])


@pytest.mark.slow
def test_commands_print_their_outcome_as_json_on_the_last_line(
    settings: None, mlflow_state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf = Shelf(tmp_path)
    shelf.register({"RTE": 120})
    commands.gate(["--out", "reports"])
    assert printed(capsys)["decision"] == "promoted"
    assert Path("reports/promotion.html").is_file()
    shelf.register({"RTE": 120, "WNLI": 10})
    commands.promote(["--version", "2", "--reason", "a try"])
    assert printed(capsys)["champion"][ENCODER] == "2"
    commands.rollback(["--reason", "it failed"])
    assert printed(capsys)["champion"] == {ENCODER: "1", "cloze-rte": "1"}
    commands.gate(["--out", "reports"])
    assert printed(capsys)["only_candidate"] == ["WNLI"]
    commands.history([])
    kinds = [entry["kind"] for entry in printed(capsys)]
    assert kinds == ["gate", "promote", "rollback", "gate"]
