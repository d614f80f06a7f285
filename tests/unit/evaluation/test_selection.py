import math
from typing import Any

import pytest

from stages.core.errors import ArtifactError
from stages.evaluation.selection import Trial, parse_selection


def member(rate: float, seed: int, score: Any, *, is_chosen: bool = False) -> dict[str, Any]:
    settings = {"learning_rate": rate, "num_epochs": 3}
    return {"settings": settings, "seed": seed, "dev_score": score, "is_chosen": is_chosen}


def selection(*members: Any) -> dict[str, Any]:
    one = {"rule": "the best mean", "members": list(members)}
    return {"encoder": one, "twin": one}


def test_members_of_equal_settings_are_one_trial():
    content = selection(
        member(1e-4, 1, 0.6), member(3e-4, 1, 0.7, is_chosen=True), member(1e-4, 2, 0.5)
    )
    found = parse_selection(content, where="RTE/metrics.json")["encoder"]
    assert found.rule == "the best mean"
    assert found.seeds == (1, 2)
    assert found.trials == (
        Trial({"learning_rate": 1e-4, "num_epochs": 3}, {1: 0.6, 2: 0.5}, ()),
        Trial({"learning_rate": 3e-4, "num_epochs": 3}, {1: 0.7}, (1,)),
    )


def test_a_setting_whose_training_diverged_has_no_score():
    content = selection(member(1e-1, 1, None), member(1e-4, 1, 0.6, is_chosen=True))
    diverged, sound = parse_selection(content, where="RTE/metrics.json")["twin"].trials
    assert (diverged.scores, diverged.chosen_seeds) == ({}, ())
    assert sound.scores == {1: 0.6}


def test_nothing_searched_is_an_empty_selection():
    assert parse_selection(None, where="RTE/metrics.json") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"encoder": {}}, r"RTE/metrics\.json: selection is of \['encoder'\], expected"),
        (selection(), "encoder: selection has no rule in words or no members"),
        (selection(member(1e-4, 1, "x")), "encoder: member 0 of selection is .*expected settings"),
        (selection(member(1e-4, 1, math.nan)), "member 0 of selection is .*expected settings"),
        (selection(member(1e-4, 1, 0.5), "x"), "member 1 of selection is 'x'"),
    ],
)
def test_a_selection_that_does_not_fit_is_refused(content, message):
    with pytest.raises(ArtifactError, match=message):
        parse_selection(content, where="RTE/metrics.json")
