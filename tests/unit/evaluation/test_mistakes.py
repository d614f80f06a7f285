from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stages.core.errors import ArtifactError
from stages.evaluation.examples import Examples
from stages.evaluation.mistakes import confident_mistakes, largest_mistakes, wrong_answers
from stages.evaluation.predictions import Answers, Predictions


def examples(**columns: list) -> Examples:
    size = len(next(iter(columns.values())))
    return Examples(Path("RTE/dev.parquet"), pa.table({"index": list(range(size)), **columns}))


def texts(size: int) -> Examples:
    return examples(text_a=[f"text {n}" for n in range(size)], text_b=[None] * size)


def predictions(
    labels: list[float], outputs: list[list[float]], values: list[float]
) -> Predictions:
    index = np.arange(len(labels))
    return Predictions(index, *(np.array(one, dtype=float) for one in (labels, values, outputs)))


def test_wrong_predictions_come_surest_first_and_right_ones_never():
    logits = [[0.0, 1.0], [9.0, 0.0], [0.0, 3.0], [2.0, 0.0]]
    found = confident_mistakes(
        predictions([0, 0, 0, 1], logits, [1, 0, 1, 0]), texts(4), ["no", "yes"]
    )
    assert [mistake.index for mistake in found] == [2, 3, 0]
    assert found[0].facts == {"label": "no", "predicted": "yes", "probability": "95.3 %"}
    assert found[0].texts == (("text", "text 2"),)


def test_no_more_than_five_are_shown_and_ties_keep_their_order():
    found = confident_mistakes(
        predictions([0] * 7, [[0.0, 1.0]] * 7, [1] * 7), texts(7), ["no", "yes"]
    )
    assert [mistake.index for mistake in found] == [0, 1, 2, 3, 4]


def test_a_regressions_largest_residuals_stand_in():
    found = largest_mistakes(
        predictions([1.0, 2.0, 3.0], [[1.0], [4.5], [2.0]], [1.0, 4.5, 2.0]), texts(3)
    )
    assert [mistake.index for mistake in found] == [1, 2]
    assert found[0].facts == {"label": "2.00", "predicted": "4.50", "off by": "2.50"}


QUESTIONS = examples(question=["who?", "when?"], answers=[["Ada", "Ada", "Lovelace"], ["1815"]])


def answers(outputs: list[list[float]]) -> Answers:
    exact, f1 = np.array([0.0, 0.0]), np.array([0.0, 0.5])
    return Answers(np.arange(2), ("Babbage", "in 1815"), exact, f1, np.array(outputs))


def test_wrong_answers_stand_beside_the_gold_ones():
    # start, end and score of two kept answers each; the second question has one alone.
    found = wrong_answers(answers([[0, 3, 1.0, 4, 9, 1.0], [5, 9, 2.0, -1, -1, np.nan]]), QUESTIONS)
    assert [mistake.index for mistake in found] == [1, 0]
    assert found[0].facts == {
        "right": "1815",
        "answered": "in 1815",
        "probability": "100.0 %",
        "F1": "50.0 %",
    }
    assert found[1].facts["right"] == "Ada | Lovelace"
    assert found[1].facts["probability"] == "50.0 %"
    assert found[1].texts == (("question", "who?"),)


def test_outputs_of_another_kind_than_kept_answers_are_refused():
    with pytest.raises(ArtifactError, match="2 outputs a question, expected start, end and score"):
        wrong_answers(answers([[0.0, 1.0], [0.0, 1.0]]), QUESTIONS)
