"""What the registration stage decided, in words for a terminal and as a task of the flow."""

import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines import promotion
from pipelines.environment import child_environment
from pipelines.processes import Children
from pipelines.repro import Outcome, StageError
from stages.core.artifacts import write_json


def sides(candidate: float, champion: float) -> dict[str, Any]:
    return {
        "candidate": {"score": candidate, "interval": [candidate - 0.02, candidate + 0.02]},
        "champion": {"score": champion, "interval": [champion - 0.02, champion + 0.02]},
        "difference": {"score": candidate - champion, "interval": [0.001, 0.2]},
    }


RECORD: dict[str, Any] = {
    "decision": "promoted",
    "headline": "cloze-encoder version 2 is the champion now, in place of version 1.",
    "reason": "The candidate's macro score rose.",
    "tasks": {
        "RTE": {**sides(0.65, 0.6), "is_counted": True, "mcnemar": {"p_value": 0.00195}},
        "WNLI": {**sides(0.5, 0.4), "is_counted": False, "mcnemar": None},
    },
    "macro": sides(0.65, 0.6),
    "only_candidate": [],
    "only_champion": ["QNLI"],
    "champion": {"cloze-encoder": "2", "cloze-rte": "2"},
}


def test_a_decision_is_a_line_a_reason_and_a_small_table() -> None:
    lines = list(promotion.decision_lines(RECORD))
    assert lines == [
        "promoted: cloze-encoder version 2 is the champion now, in place of version 1.",
        "  The candidate's macro score rose.",
        "  task  candidate  champion  difference, 95 % interval  McNemar p",
        "  RTE       65.00     60.00    +5.00 (+0.10 to +20.00)    0.00195",
        "  WNLI      50.00     40.00   +10.00 (+0.10 to +20.00)             left out of the mean",
        "  macro     65.00     60.00    +5.00 (+0.10 to +20.00)",
        "  not compared, only the champion has it: QNLI",
    ]


def test_a_decision_without_a_comparison_is_two_lines() -> None:
    record = RECORD | {"tasks": {}, "macro": None, "only_champion": []}
    assert len(list(promotion.decision_lines(record))) == 2


def test_the_history_is_two_lines_a_decision() -> None:
    entry = {
        "time": "2026-01-02T03:04:05+00:00",
        "kind": "gate",
        "decision": "kept",
        "encoder": "cloze-encoder",
        "before": {"cloze-encoder": "1", "cloze-rte": "4"},
        "after": {"cloze-encoder": "1", "cloze-rte": "4"},
        "is_move": False,
        "macro_difference": "-1.00 (-2.00 to +0.50)",
        "reason": "It is worse.",
    }
    moved = entry | {"after": {"cloze-encoder": "2"}, "before": {}, "is_move": True}
    assert list(promotion.history_lines([entry, moved | {"macro_difference": ""}])) == [
        "2026-01-02T03:04:05+00:00  gate      kept         cloze-encoder 1 with 1 task model stays"
        "  macro -1.00 (-2.00 to +0.50)",
        "    It is worse.",
        "2026-01-02T03:04:05+00:00  gate      kept         none -> cloze-encoder 2"
        " with 0 task models",
        "    It is worse.",
    ]
    assert "python -m pipelines gate" in next(promotion.history_lines([]))


@pytest.mark.parametrize(
    ("environment", "outcome", "said"),
    [
        ({"CLOZE_TRACKING": "off"}, Outcome.RAN, "tracking is off"),
        ({}, None, "registration did not run"),
        ({}, Outcome.RAN, ""),
        ({}, Outcome.SKIPPED, ""),
    ],
)
def test_a_flow_judges_unless_tracking_is_off_or_nothing_was_registered(
    environment: dict[str, str], outcome: Outcome | None, said: str
) -> None:
    found = promotion.obstacle_to_judging(environment, outcome)
    assert found.startswith(said)
    assert bool(found) == bool(said)


def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> tuple[str, list[str]]:
    monkeypatch.setattr(promotion, "_GATE", (sys.executable, "-c", code))
    lines: list[str] = []
    message = promotion.judge_here(
        workspace=tmp_path,
        children=Children(),
        environment=child_environment(),
        on_line=lines.append,
    )
    return message, lines


def test_a_flows_gate_ends_with_the_decision_and_logs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reports").mkdir()
    write_json(tmp_path / "reports" / "promotion.json", RECORD)
    code = "print('a warning'); print('{\"decision\": 1}')"
    message, lines = judged(tmp_path, monkeypatch, code)
    assert message == f"promoted: {RECORD['headline']}"
    assert lines == ["a warning", *promotion.decision_lines(RECORD)]


def test_a_gate_that_fails_fails_the_flow_with_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StageError, match="gate ended with exit code 3") as caught:
        judged(tmp_path, monkeypatch, "raise SystemExit(3)")
    assert caught.value.exit_code == 3


def test_a_moved_champion_is_told_with_all_its_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def outcome(_root: Path, command: list[str]) -> dict[str, Any]:
        asked.append(command[3:])
        return RECORD

    monkeypatch.setattr(promotion, "_outcome", outcome)
    text = promotion.promote(tmp_path, "2", "--better")
    assert text.endswith("  champion: cloze-encoder 2, cloze-rte 2\n")
    promotion.rollback(tmp_path, "worse")
    assert asked == [
        ["promote", "--reason=--better", "--version=2"],
        ["rollback", "--reason=worse"],
    ]
