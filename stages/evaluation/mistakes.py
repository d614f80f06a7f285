"""Where a model was surest and wrong: examples that a person can read.

In: the predictions of one model on the development set. Out: a handful of errors with their texts.
A classifier is sure by the probability of the class it predicts; a regression has no such number,
so its largest errors stand in; an extraction by its best answer's probability among the answers it
kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from stages.core.errors import ArtifactError
from stages.evaluation.calibration import probabilities
from stages.evaluation.examples import Examples, cut
from stages.evaluation.facts import NOTHING
from stages.evaluation.predictions import Answers, Predictions

MOST_SHOWN = 5
_NUMBERS_OF_AN_ANSWER = 3  # start, end and score of each kept answer, in turn


@dataclass(frozen=True)
class Mistake:
    """One wrong prediction, in words."""

    index: int
    texts: tuple[tuple[str, str], ...]
    """Name and text of each part of the example."""
    facts: Mapping[str, str]
    """What was expected, what was predicted, how sure: names and texts, in their order."""


def confident_mistakes(
    predictions: Predictions, examples: Examples, class_names: Sequence[str]
) -> list[Mistake]:
    """A classifier's wrong predictions, the surest first."""
    confidence = probabilities(predictions.outputs).max(axis=1)
    wrong = np.flatnonzero(predictions.values != predictions.labels)
    return [
        Mistake(
            int(predictions.index[one]),
            examples.texts(int(one)),
            {
                "label": class_names[int(predictions.labels[one])],
                "predicted": class_names[int(predictions.values[one])],
                "probability": _percent(confidence[one]),
            },
        )
        for one in _largest(confidence, wrong)
    ]


def largest_mistakes(predictions: Predictions, examples: Examples) -> list[Mistake]:
    """A regression's predictions that lie furthest from their labels."""
    apart = np.abs(predictions.values - predictions.labels)
    return [
        Mistake(
            int(predictions.index[one]),
            examples.texts(int(one)),
            {
                "label": f"{predictions.labels[one]:.2f}",
                "predicted": f"{predictions.values[one]:.2f}",
                "off by": f"{apart[one]:.2f}",
            },
        )
        for one in _largest(apart, np.flatnonzero(apart))
    ]


def wrong_answers(answers: Answers, examples: Examples) -> list[Mistake]:
    """Answers that match no gold answer exactly, the surest first.

    Raises: ArtifactError: the outputs are not start, end and score of each kept answer.
    """
    confidence = _answer_confidence(answers.outputs, examples)
    wrong = np.flatnonzero(answers.exact_match < 1)
    return [
        Mistake(
            int(answers.index[one]),
            examples.texts(int(one)),
            {
                "right": " | ".join(examples.gold_answers(int(one))) or NOTHING,
                "answered": cut(answers.texts[int(one)]) or NOTHING,
                "probability": _percent(confidence[one]),
                "F1": _percent(answers.f1[one]),
            },
        )
        for one in _largest(confidence, wrong)
    ]


def _answer_confidence(
    outputs: Float64[ndarray, "N C"], examples: Examples
) -> Float64[ndarray, "N"]:
    """The best answer's share of the kept answers' softmax; places not filled are no number."""
    if outputs.shape[1] % _NUMBERS_OF_AN_ANSWER:
        raise ArtifactError(
            f"predictions for {examples.path}: {outputs.shape[1]} outputs a question, expected "
            "start, end and score of each kept answer; run the fine-tuning of this task again"
        )
    scores = outputs[:, _NUMBERS_OF_AN_ANSWER - 1 :: _NUMBERS_OF_AN_ANSWER]
    filled = np.where(np.isfinite(scores), scores, -np.inf)
    filled[:, 0] = np.where(np.isfinite(scores[:, 0]), scores[:, 0], 0.0)
    return np.asarray(probabilities(filled)[:, 0])


def _largest(values: Float64[ndarray, "N"], among: Int64[ndarray, "M"]) -> list[int]:
    """Positions of the MOST_SHOWN largest values among some, equal ones in their order."""
    order = np.argsort(-values[among], kind="stable")[:MOST_SHOWN]
    return [int(one) for one in among[order]]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
