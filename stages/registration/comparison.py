"""A candidate beside the champion on the same examples: scores, differences, what is left open.

Pure functions. A task's score is the mean of its metrics, over all development splits and seeds, as
in the evaluation. Both models answered the same examples, so a resample takes an example with all
answers of both (see core/statistics/bootstrap.py); tasks are resampled independently.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from stages.core.errors import ArtifactError
from stages.core.statistics.bootstrap import interval, resampled_means, resampled_scores
from stages.core.statistics.mcnemar import McNemar, mcnemar
from stages.core.statistics.metrics import score
from stages.registration.evidence import Evidence, SplitAnswers, read_answers

SIDES = ("candidate", "champion")
ROUNDING = 1e-9  # sums of the same numbers in another order differ by less
_MAIN_SPLIT = "dev"


@dataclass(frozen=True)
class Estimate:
    """A number in -1..1 and its 95 % interval over the examples."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Compared:
    """Both scores and the candidate's lead, of one task or of the mean over tasks."""

    candidate: Estimate
    champion: Estimate
    difference: Estimate
    resampled: Float64[ndarray, "2 R"]
    """Candidate's and champion's score in each resample."""


@dataclass(frozen=True)
class TaskComparison:
    """One task on both sides."""

    scores: Compared
    num_examples: int
    test: McNemar | None
    """Of the registered models' accuracy on `dev`; None where accuracy is no metric of the task."""


def compare_task(candidate: Evidence, champion: Evidence) -> TaskComparison:
    """Hold two models of one task against each other on its development examples.

    Raises: ArtifactError: they were judged on other data, or the predictions do not fit.
    """
    _require_same_data(candidate, champion)
    both = (read_answers(candidate), read_answers(champion))
    _require_same_examples(candidate, champion, both)
    values: list[list[float]] = []
    resampled: list[Float64[ndarray, "2 R"]] = []
    for split in both[0]:
        sides = [answers[split] for answers in both]
        if sides[0].labels is None:
            values.append([_mean_over_seeds(side) for side in sides])
            resampled.append(resampled_means(_by_side(sides), f"{candidate.task}.{split}"))
        else:
            for metric, drawn in _resampled_metrics(candidate, sides, split).items():
                values.append([_metric_over_seeds(metric, side) for side in sides])
                resampled.append(drawn)
    return TaskComparison(
        scores=_compared(np.mean(values, axis=0), np.mean(resampled, axis=0)),
        num_examples=sum(len(side.index) for side in both[0].values()),
        test=_accuracy_test(candidate, champion, both),
    )


def compare_macro(tasks: Sequence[TaskComparison]) -> Compared:
    """The mean over tasks."""
    values = [[t.scores.candidate.value, t.scores.champion.value] for t in tasks]
    resampled = [task.scores.resampled for task in tasks]
    return _compared(np.mean(values, axis=0), np.mean(resampled, axis=0))


def gain_probability(compared: Compared, min_gain: float) -> float:
    """Share of the resamples in which the candidate leads by more than `min_gain`."""
    candidate, champion = compared.resampled
    return float(np.mean(candidate - champion > min_gain + ROUNDING))


def _compared(values: Float64[ndarray, "2"], resampled: Float64[ndarray, "2 R"]) -> Compared:
    candidate, champion = (
        Estimate(float(value), *interval(drawn))
        for value, drawn in zip(values, resampled, strict=True)
    )
    difference = Estimate(float(values[0] - values[1]), *interval(resampled[0] - resampled[1]))
    return Compared(candidate, champion, difference, resampled)


def _require_same_data(candidate: Evidence, champion: Evidence) -> None:
    for what in ("task_hash", "kind", "metrics"):
        mine, theirs = getattr(candidate, what), getattr(champion, what)
        if mine != theirs:
            told = what.replace("task_hash", "examples' hash")
            raise ArtifactError(
                f"task {candidate.task}: the {told} is {mine!r} for the candidate and {theirs!r} "
                "for the champion: their scores cannot be compared; evaluate both on the same "
                "data, or choose a champion by hand: python -m pipelines promote --reason ..."
            )


def _require_same_examples(
    candidate: Evidence, champion: Evidence, both: Sequence[Mapping[str, SplitAnswers]]
) -> None:
    first, second = both
    is_same = first.keys() == second.keys() and all(
        np.array_equal(first[split].index, second[split].index)
        and _is_equal(first[split].labels, second[split].labels)
        for split in first
    )
    if not is_same:
        raise ArtifactError(
            f"task {candidate.task}: {candidate.predictions} and {champion.predictions} answer "
            "different examples or hold different labels, though both name the same data; run the "
            "fine-tuning and the registration again"
        )


def _is_equal(first: ndarray | None, second: ndarray | None) -> bool:
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)


def _metric_over_seeds(metric: str, side: SplitAnswers) -> float:
    assert side.labels is not None
    scores = [score([metric], side.labels, guess)[metric] for guess in side.by_seed.values()]
    return float(np.mean(scores))


def _mean_over_seeds(side: SplitAnswers) -> float:
    return float(np.mean([np.mean(values) for values in side.by_seed.values()]))


def _resampled_metrics(
    evidence: Evidence, sides: Sequence[SplitAnswers], split: str
) -> dict[str, Float64[ndarray, "2 R"]]:
    labels = sides[0].labels
    assert labels is not None
    return resampled_scores(evidence.metrics, labels, _by_side(sides), f"{evidence.task}.{split}")


def _by_side(sides: Sequence[SplitAnswers]) -> dict[str, list[Float64[ndarray, "N"]]]:
    """Side -> what each of its seeds answered."""
    return {name: list(side.by_seed.values()) for name, side in zip(SIDES, sides, strict=True)}


def _accuracy_test(
    candidate: Evidence, champion: Evidence, both: Sequence[Mapping[str, SplitAnswers]]
) -> McNemar | None:
    """McNemar's test between the two registered models, those of the median seeds."""
    if "accuracy" not in candidate.metrics or _MAIN_SPLIT not in both[0]:
        return None
    labels = both[0][_MAIN_SPLIT].labels
    seeds = (candidate.median_seed, champion.median_seed)
    guesses = [
        answers[_MAIN_SPLIT].by_seed.get(seed) for answers, seed in zip(both, seeds, strict=True)
    ]
    first, second = guesses
    if labels is None or first is None or second is None:
        return None
    return mcnemar(labels, first, second)
