"""Any two members of a comparison on the same examples: how far apart, and whether beyond chance.

In: the members and the predictions kept with each. Out: per pair and family the difference of the
macro score with the interval of a paired bootstrap over the development examples, and McNemar's
test for tasks scored by accuracy. The interval weighs which examples were asked; how much another
pre-training seed would change is not in it.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from stages.core.errors import ArtifactError
from stages.core.statistics.bootstrap import interval, resampled_means, resampled_scores
from stages.core.statistics.mcnemar import mcnemar
from stages.evaluation.comparison import Member
from stages.evaluation.predictions import Answers, PredictionFile, Predictions
from stages.evaluation.scores import MAIN_SPLIT
from stages.evaluation.summary import rounded

PREDICTIONS = "predictions"
ACCURACY = "accuracy"
ENCODER = "encoder"
_AGAIN = "remove the member's folder and run pipelines compare again"


def lacks_predictions(member: Member) -> bool:
    """Whether a member was kept before predictions were."""
    tasks = member.evaluation["tasks"]
    has_medians = all("median_seeds" in entry for entry in tasks.values())
    return not has_medians or not (member.folder / PREDICTIONS).is_dir()


def pairs(members: Sequence[Member]) -> list[dict[str, Any]]:
    """Every pair of members that have their predictions, in the order of the members.

    Raises: ArtifactError: a prediction is missing, or of other examples than another member's.
    """
    kept = [member for member in members if not lacks_predictions(member)]
    if len(kept) < 2:
        return []
    first = kept[0].evaluation
    resampled = {task: _resampled(kept, task) for task in first["tasks"]}
    tests = {task: _Tests(kept, task) for task in first["tasks"] if _accuracies(first, task)}
    return [
        {
            "first": one.name,
            "second": other.name,
            "macro": {
                family: _difference((one, other), macro["tasks"], resampled)
                for family, macro in first["macro"].items()
            },
            "mcnemar": {task: test.between(one, other) for task, test in tests.items()},
        }
        for one, other in combinations(kept, 2)
    ]


Resampled = Mapping[str, Float64[ndarray, "R"]]  # member -> its task score in each resample


def _difference(
    pair: tuple[Member, Member], tasks: Sequence[str], resampled: Mapping[str, Resampled]
) -> dict[str, Any]:
    """The first one's lead over the second, its interval, and what may be said of it."""
    one, other = (np.mean([resampled[task][m.name] for task in tasks], axis=0) for m in pair)
    low, high = interval(one - other)
    mine, theirs = (np.mean([_task_score(m, task) for task in tasks]) for m in pair)
    is_beyond = low > 0 or high < 0
    return {
        "difference": rounded(float(mine - theirs)),
        "interval": [rounded(low), rounded(high)],
        "is_beyond": is_beyond,
    }


def _task_score(member: Member, task: str) -> float:
    return float(np.mean(member.evaluation["tasks"][task]["score"][ENCODER]["seeds"]))


def _labels(evaluation: Mapping[str, Any], task: str) -> list[tuple[str, str]]:
    """(split, metric) of each measure of a task."""
    found = []
    for label in evaluation["tasks"][task][ENCODER]:
        split, _, metric = label.rpartition("/")
        found.append((split or MAIN_SPLIT, metric))
    return found


def _accuracies(evaluation: Mapping[str, Any], task: str) -> list[str]:
    """The splits of which a task reports the accuracy."""
    return [split for split, metric in _labels(evaluation, task) if metric == ACCURACY]


def _file(member: Member, task: str) -> PredictionFile:
    return PredictionFile(member.folder / PREDICTIONS / f"{task}.parquet")


def _seeds(file: PredictionFile, member: Member, task: str) -> list[int]:
    """The seeds of the kept predictions, as many as the scores have."""
    seeds = file.seeds(ENCODER)
    expected = len(member.evaluation["tasks"][task]["score"][ENCODER]["seeds"])
    if len(seeds) != expected:
        raise ArtifactError(
            f"{file.path}: predictions of the seeds {seeds}, expected {expected} of them, as many "
            f"as evaluation.json has scores; {_AGAIN}"
        )
    return seeds


def _resampled(members: Sequence[Member], task: str) -> Resampled:
    """Each member's score of a task, the mean of its measures, in the same resamples.

    The draws are keyed by the task too, for its examples are independent of another task's.
    """
    metrics_of: dict[str, list[str]] = {}
    for split, metric in _labels(members[0].evaluation, task):
        metrics_of.setdefault(split, []).append(metric)
    measures = []
    for split, metrics in metrics_of.items():
        drawn = _of_answers if _file(members[0], task).holds_answers else _of_labels
        measures += drawn(members, task, split, metrics)
    scores = np.mean(measures, axis=0)
    return {member.name: scores[number] for number, member in enumerate(members)}


def _of_labels(
    members: Sequence[Member], task: str, split: str, metrics: Sequence[str]
) -> list[Float64[ndarray, "members R"]]:
    """One array a metric."""
    values: dict[str, list[ndarray]] = {}
    first: Predictions | None = None
    for member in members:
        file = _file(member, task)
        found = [file.labelled(ENCODER, seed, split) for seed in _seeds(file, member, task)]
        first = first or found[0]
        for one in found:
            _require_same((first.index, first.labels), (one.index, one.labels), file.path)
        values[member.name] = [one.values for one in found]
    assert first is not None, "there is a member"
    return list(resampled_scores(metrics, first.labels, values, f"{task}.{split}").values())


def _of_answers(
    members: Sequence[Member], task: str, split: str, metrics: Sequence[str]
) -> list[Float64[ndarray, "members R"]]:
    """One array a metric, each the mean of what the questions score."""
    first: Answers | None = None
    found: dict[str, list[Answers]] = {}
    for member in members:
        file = _file(member, task)
        answers = [file.answers(ENCODER, seed, split) for seed in _seeds(file, member, task)]
        first = first or answers[0]
        for one in answers:
            _require_same((first.index,), (one.index,), file.path)
        found[member.name] = answers
    return [
        resampled_means(
            {name: [getattr(one, metric) for one in answers] for name, answers in found.items()},
            f"{task}.{split}",
        )
        for metric in metrics
    ]


def _require_same(first: Sequence[ndarray], mine: Sequence[ndarray], path: Path) -> None:
    if not all(np.array_equal(one, other) for one, other in zip(first, mine, strict=True)):
        raise ArtifactError(
            f"{path}: predicts other examples or labels than the first member's, expected the "
            f"same; {_AGAIN}"
        )


class _Tests:
    """McNemar's test of one task between any two members, at the median seed of each."""

    def __init__(self, members: Sequence[Member], task: str) -> None:
        self.splits = _accuracies(members[0].evaluation, task)
        self.predictions = {
            (member.name, split): _file(member, task).labelled(
                ENCODER, member.evaluation["tasks"][task]["median_seeds"][ENCODER], split
            )
            for member in members
            for split in self.splits
        }

    def between(self, one: Member, other: Member) -> dict[str, Any]:
        """Split -> the test."""
        return {split: self._test(one.name, other.name, split) for split in self.splits}

    def _test(self, one: str, other: str, split: str) -> dict[str, Any]:
        first, second = (self.predictions[name, split] for name in (one, other))
        test = mcnemar(first.labels, first.values, second.values)
        return {
            "only_first": test.only_first,
            "only_second": test.only_second,
            "p_value": rounded(test.p_value),
        }
