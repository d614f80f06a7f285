"""The gate's decisions on constructed champions: 200 examples a task, all of class 1."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from stages.core.errors import ArtifactError
from stages.registration.evidence import Evidence
from stages.registration.gate import (
    KEPT,
    PROMOTED,
    UNCHANGED,
    Decision,
    decide,
    described,
    first_champion,
    nothing_to_decide,
    rule_in_words,
)
from stages.registration.params import PromotionRule
from tests.unit.registration.builders import classifier, right_in

RULE = PromotionRule(min_macro_gain=0.0, min_probability=0.95, max_task_loss=0.02)


class Sides:
    """Both sides, by how many of 200 examples each gets right on every task."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def side(self, name: str, right: Mapping[str, int], **facts: str) -> dict[str, Evidence]:
        return {
            task: classifier(
                self.folder / name / task, [1.0] * 200, {1: right_in(count)}, task=task, **facts
            )
            for task, count in right.items()
        }

    def decide(
        self,
        candidate: Mapping[str, int],
        champion: Mapping[str, int],
        rule: PromotionRule = RULE,
        leaves_out: tuple[str, ...] = (),
    ) -> Decision:
        mine, theirs = self.side("candidate", candidate), self.side("champion", champion)
        return decide(mine, theirs, rule, leaves_out)


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(tmp_path)


def test_a_better_candidate_is_promoted(sides: Sides) -> None:
    decision = sides.decide({"RTE": 130, "QNLI": 131}, {"RTE": 120, "QNLI": 121})
    assert decision.word == PROMOTED
    assert decision.is_promotion
    assert "macro score over 2 tasks is 5.00 points above the champion's" in decision.reason
    assert "no task lost more than 2.00 points" in decision.reason


def test_an_equal_candidate_does_not_replace_the_champion(sides: Sides) -> None:
    decision = sides.decide({"RTE": 120}, {"RTE": 120})
    assert decision.word == KEPT
    assert "has the probability 0.000, asked for are 0.95" in decision.reason


def test_a_worse_candidate_does_not_replace_the_champion(sides: Sides) -> None:
    decision = sides.decide({"RTE": 118}, {"RTE": 120})
    assert decision.word == KEPT
    assert "(RTE alone) is 1.00 points below the champion's" in decision.reason


def test_a_gain_within_chance_does_not_replace_the_champion(sides: Sides) -> None:
    """One example more of 200: in a resample it is drawn with probability .63."""
    decision = sides.decide({"RTE": 121}, {"RTE": 120})
    assert decision.word == KEPT
    assert decision.comparison is not None
    assert decision.comparison.probability == pytest.approx(0.632, abs=0.04)


def test_one_collapsed_task_outweighs_a_higher_macro_score(sides: Sides) -> None:
    decision = sides.decide({"RTE": 180, "QNLI": 110}, {"RTE": 120, "QNLI": 121})
    assert decision.word == KEPT
    assert decision.comparison is not None
    assert decision.comparison.probability == 1.0
    assert "QNLI lost 5.50 points, allowed are 2.00 points" in decision.reason


def test_a_loss_of_exactly_what_is_allowed_is_allowed(sides: Sides) -> None:
    assert sides.decide({"RTE": 180, "QNLI": 116}, {"RTE": 120, "QNLI": 120}).is_promotion
    assert not sides.decide({"RTE": 180, "QNLI": 115}, {"RTE": 120, "QNLI": 120}).is_promotion


def test_a_gain_that_is_asked_for_must_be_exceeded(sides: Sides) -> None:
    rule = PromotionRule(min_macro_gain=0.2, min_probability=0.95, max_task_loss=0.02)
    assert not sides.decide({"RTE": 130}, {"RTE": 110}, rule).is_promotion
    assert sides.decide({"RTE": 190}, {"RTE": 110}, rule).is_promotion


def test_a_task_left_out_of_the_mean_decides_nothing_and_is_shown(sides: Sides) -> None:
    decision = sides.decide(
        {"RTE": 140, "WNLI": 10}, {"RTE": 120, "WNLI": 150}, leaves_out=("WNLI",)
    )
    assert decision.is_promotion
    entry = described(decision)
    assert entry["left_out"] == ["WNLI"]
    assert entry["macro"]["tasks"] == ["RTE"]
    assert entry["tasks"]["WNLI"]["difference"]["score"] == -0.7
    assert not entry["tasks"]["WNLI"]["is_counted"]


def test_only_what_both_sides_have_is_compared_and_the_rest_is_named(sides: Sides) -> None:
    decision = sides.decide({"RTE": 140, "new": 10}, {"RTE": 120, "old": 200})
    assert decision.is_promotion
    assert (decision.only_candidate, decision.only_champion) == (("new",), ("old",))
    assert list(described(decision)["tasks"]) == ["RTE"]


def test_no_common_task_is_an_error_that_names_both_sides(sides: Sides) -> None:
    with pytest.raises(ArtifactError, match=r"candidate has \['new'\], the champion \['old'\]"):
        sides.decide({"new": 10}, {"old": 10})
    with pytest.raises(ArtifactError, match="no task that counts"):
        sides.decide({"WNLI": 10}, {"WNLI": 10}, leaves_out=("WNLI",))


def test_a_task_with_other_data_is_refused(sides: Sides) -> None:
    mine = sides.side("candidate", {"RTE": 1}, task_hash="new.dir")
    with pytest.raises(ArtifactError, match=r"'new.dir' for the candidate and 'same.dir'"):
        decide(mine, sides.side("champion", {"RTE": 1}), RULE, ())


def test_the_written_numbers_are_those_of_the_comparison(sides: Sides) -> None:
    entry = described(sides.decide({"RTE": 130}, {"RTE": 120}))
    task = entry["tasks"]["RTE"]
    assert (task["candidate"]["score"], task["champion"]["score"]) == (0.65, 0.6)
    assert task["difference"]["score"] == 0.05
    low, high = task["difference"]["interval"]
    assert 0 < low < 0.05 < high
    assert task["mcnemar"] == {
        "only_candidate_right": 10,
        "only_champion_right": 0,
        "p_value": pytest.approx(2 * 0.5**10, abs=1e-6),
    }
    assert entry["macro"]["difference"] == task["difference"]
    assert entry["decision"] == "promoted"


def test_without_a_champion_the_candidate_becomes_the_first() -> None:
    assert first_champion().is_promotion
    assert described(first_champion())["macro"] is None
    assert "There was no champion" in first_champion().reason


def test_the_champion_itself_leaves_nothing_to_decide() -> None:
    assert nothing_to_decide().word == UNCHANGED
    assert not nothing_to_decide().is_promotion


def test_the_rule_in_words_holds_its_numbers() -> None:
    words = rule_in_words(RULE, ("WNLI",))
    assert "by more than 1.00 points in at least" in rule_in_words(
        PromotionRule(min_macro_gain=0.01, min_probability=0.95, max_task_loss=0.02), ()
    )
    for part in ("higher than the champion's in at least 95 %", "more than 2.00 points", "WNLI"):
        assert part in words
    assert "Left out" not in rule_in_words(RULE, ())
