from pathlib import Path

import pytest

from stages.core.errors import ArtifactError
from stages.tasks.labels import ClassIds, Scores

FILE = Path("t.csv")


def test_class_ids_follow_the_order_of_the_values():
    classes = ClassIds(["b", "a"])
    assert [classes.parse(text, FILE, 1) for text in ("a", "b")] == [1, 0]


def test_a_label_is_compared_as_it_stands():
    with pytest.raises(ArtifactError, match=r"t\.csv: line 4: label is ' a', expected one of 'a'"):
        ClassIds(["a", "b"]).parse(" a", FILE, 4)


def test_of_many_classes_a_message_shows_a_few():
    with pytest.raises(ArtifactError, match=", …; correct") as raised:
        ClassIds([f"intent {number}" for number in range(200)]).parse("?", FILE, 1)
    assert len(str(raised.value)) < 300


def test_a_score_without_a_range_may_be_any_finite_number():
    assert Scores(None).parse("-1e3", FILE, 1) == -1000.0
    with pytest.raises(ArtifactError, match="score is 'inf', expected a number; correct"):
        Scores(None).parse("inf", FILE, 1)


def test_both_ends_of_a_range_belong_to_it():
    scores = Scores((0.0, 5.0))
    assert [scores.parse(text, FILE, 1) for text in ("0", "5.0")] == [0.0, 5.0]
