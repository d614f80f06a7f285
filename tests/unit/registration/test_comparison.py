from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score

from stages.core.errors import ArtifactError
from stages.registration.comparison import compare_macro, compare_task, gain_probability
from stages.registration.evidence import Evidence
from tests.unit.registration.builders import classifier, right_in, write_predictions

LABELS = [1.0] * 200


def test_a_score_is_the_mean_over_metrics_and_seeds_as_scikit_learn_has_them(
    tmp_path: Path,
) -> None:
    draw = np.random.default_rng(3)
    labels = draw.integers(2, size=60)
    seeds = {1: draw.integers(2, size=60), 2: draw.integers(2, size=60)}
    other = {4: draw.integers(2, size=60)}
    metrics = ("accuracy", "f1")
    first = classifier(tmp_path / "a", labels, seeds, metrics=metrics)
    second = classifier(tmp_path / "b", labels, other, metrics=metrics, median_seed=4)
    scores = compare_task(first, second).scores
    expected = np.mean(
        [[accuracy_score(labels, guess), f1_score(labels, guess)] for guess in seeds.values()]
    )
    theirs = np.mean([accuracy_score(labels, other[4]), f1_score(labels, other[4])])
    assert scores.candidate.value == pytest.approx(expected)
    assert scores.champion.value == pytest.approx(theirs)
    assert scores.difference.value == pytest.approx(expected - theirs)


def test_the_interval_is_about_the_binomials(tmp_path: Path) -> None:
    """20 of 200 examples are won: sd of the difference is sqrt(.1 * .9 / 200) = .0212."""
    mine = classifier(tmp_path / "a", LABELS, {1: right_in(120)})
    theirs = classifier(tmp_path / "b", LABELS, {1: right_in(100)})
    difference = compare_task(mine, theirs).scores.difference
    assert difference.value == pytest.approx(0.1)
    assert difference.low == pytest.approx(0.1 - 1.96 * 0.0212, abs=0.006)
    assert difference.high == pytest.approx(0.1 + 1.96 * 0.0212, abs=0.006)


def test_the_test_of_accuracy_is_between_the_registered_seeds(tmp_path: Path) -> None:
    mine = classifier(tmp_path / "a", LABELS, {1: right_in(0), 2: right_in(12)}, median_seed=2)
    theirs = classifier(tmp_path / "b", LABELS, {7: right_in(9), 8: right_in(0)}, median_seed=7)
    test = compare_task(mine, theirs).test
    assert test is not None
    assert (test.only_first, test.only_second) == (3, 0)
    assert test.p_value == pytest.approx(binomtest(3, 3).pvalue)


def test_a_task_without_accuracy_has_no_such_test(tmp_path: Path) -> None:
    sides = [
        classifier(tmp_path / name, [0, 1, 0, 1], {1: [0, 1, 1, 1]}, metrics=("f1",))
        for name in ("a", "b")
    ]
    assert compare_task(*sides).test is None


def test_an_extraction_is_scored_by_the_mean_of_both_columns(tmp_path: Path) -> None:
    sides = []
    for name, matches, overlaps in (("a", [1, 1, 0, 0], [1, 1, 0.5, 0.5]), ("b", [0] * 4, [1] * 4)):
        path = tmp_path / f"{name}.parquet"
        write_predictions(path, {"exact_match": {1: matches}, "f1": {1: overlaps}})
        sides.append(Evidence("SQuAD", "h", "extraction", ("exact_match", "f1"), 1, path))
    compared = compare_task(*sides)
    assert compared.scores.candidate.value == pytest.approx((0.5 + 0.75) / 2)
    assert compared.scores.champion.value == pytest.approx(0.5)
    assert compared.scores.champion.low == compared.scores.champion.high == pytest.approx(0.5)
    assert compared.test is None
    assert compared.num_examples == 4


def test_further_development_splits_count_like_the_first(tmp_path: Path) -> None:
    sides = []
    for name, guess in (("a", right_in(3, 4)), ("b", right_in(1, 4))):
        path = tmp_path / f"{name}.parquet"
        columns = {"label": {1: [1] * 4}, "prediction": {1: guess}}
        write_predictions(path, columns, splits=("dev", "dev_mismatched"))
        sides.append(Evidence("MNLI", "h", "classification", ("accuracy",), 1, path))
    compared = compare_task(*sides)
    assert compared.num_examples == 8
    assert compared.scores.difference.value == pytest.approx(0.5)


def test_the_macro_score_is_the_mean_over_tasks_and_they_are_drawn_independently(
    tmp_path: Path,
) -> None:
    """Two tasks of variance v each: their mean has v / 2, not v as if drawn together."""
    tasks = []
    for task in ("RTE", "WNLI"):
        mine = classifier(tmp_path / task / "a", LABELS, {1: right_in(120)}, task=task)
        theirs = classifier(tmp_path / task / "b", LABELS, {1: right_in(100)}, task=task)
        tasks.append(compare_task(mine, theirs))
    macro = compare_macro(tasks)
    assert macro.difference.value == pytest.approx(0.1)
    sd = np.std(macro.resampled[0] - macro.resampled[1])
    assert sd == pytest.approx(0.0212 / np.sqrt(2), rel=0.08)


def test_equal_models_never_gain(tmp_path: Path) -> None:
    sides = [
        classifier(tmp_path / name, LABELS, {1: right_in(90), 2: right_in(100)})
        for name in ("a", "b")
    ]
    scores = compare_task(*sides).scores
    assert (scores.difference.low, scores.difference.high) == (0.0, 0.0)
    assert gain_probability(scores, 0.0) == 0.0


def test_a_gain_is_more_than_is_asked_for(tmp_path: Path) -> None:
    mine = classifier(tmp_path / "a", LABELS, {1: right_in(200)})
    theirs = classifier(tmp_path / "b", LABELS, {1: right_in(0)})
    scores = compare_task(mine, theirs).scores
    assert gain_probability(scores, 0.999) == 1.0
    assert gain_probability(scores, 1.0) == 0.0


def test_other_data_are_refused_with_both_hashes(tmp_path: Path) -> None:
    mine = classifier(tmp_path / "a", [1], {1: [1]}, task_hash="new.dir")
    theirs = classifier(tmp_path / "b", [1], {1: [1]}, task_hash="old.dir")
    with pytest.raises(
        ArtifactError, match=r"task RTE: the examples' hash is 'new.dir'.*'old.dir'.*by hand"
    ):
        compare_task(mine, theirs)


def test_other_metrics_are_refused(tmp_path: Path) -> None:
    mine = classifier(tmp_path / "a", [1, 0], {1: [1, 0]}, metrics=("accuracy", "f1"))
    theirs = classifier(tmp_path / "b", [1, 0], {1: [1, 0]})
    with pytest.raises(ArtifactError, match="task RTE: the metrics is"):
        compare_task(mine, theirs)


def test_damaged_evidence_of_the_same_data_is_refused(tmp_path: Path) -> None:
    mine = classifier(tmp_path / "a", [1, 0], {1: [1, 0]})
    theirs = classifier(tmp_path / "b", [1, 1], {1: [1, 0]})
    with pytest.raises(ArtifactError, match="different examples or hold different labels"):
        compare_task(mine, theirs)
