"""Exact match and F1 of extracted answers, as SQuAD's own scorer has them.

In: predicted texts and each question's gold answers. Out: a share in 0..1 for every question, whose
mean is the score. Both measures compare normalised texts and take the gold answer that is nearest.
Source: Rajpurkar et al. 2016, section 6.1, and evaluate-v1.1.py, which they published.
"""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

EXACT_MATCH, F1 = "exact_match", "f1"
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise_answer(text: str) -> str:
    """Lower case, no ASCII punctuation, no English articles, one space between words.

    In this order, as officially: `U.S.A` becomes `usa`, and a hyphen joins what it stands between.
    """
    lowered = text.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", lowered).split())


def answer_scores(
    predictions: Sequence[str | None], answers: Sequence[Sequence[str]]
) -> dict[str, Float64[ndarray, "N"]]:
    """`exact_match` and `f1` of every question; one without a prediction (None) has 0 of both.

    `answers`: the gold answers of each question, at least one.
    """
    pairs = list(zip(predictions, answers, strict=True))
    scored = [(0.0, 0.0) if text is None else _best(text, golds) for text, golds in pairs]
    columns = np.array(scored, dtype=np.float64).reshape(-1, 2)
    return {EXACT_MATCH: columns[:, 0], F1: columns[:, 1]}


def mean_scores(scores: Mapping[str, Float64[ndarray, "N"]]) -> dict[str, float]:
    """Each measure's mean over the questions, rounded as `metrics.score` rounds."""
    return {name: round(float(values.mean()), 10) for name, values in scores.items()}


def _best(prediction: str, golds: Sequence[str]) -> tuple[float, float]:
    """The highest exact match and the highest F1, not necessarily of the same gold answer."""
    found = normalise_answer(prediction)
    wanted = [normalise_answer(gold) for gold in golds]
    return float(found in wanted), max(_overlap(found.split(), gold.split()) for gold in wanted)


def _overlap(found: list[str], wanted: list[str]) -> float:
    """F1 of two bags of words; 0 where they share none, even if both are empty."""
    shared = sum((Counter(found) & Counter(wanted)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(found), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)
