"""Predictions, the task's score, the median seed and the table."""

import dataclasses

import numpy as np
import pytest

from stages.finetuning.predictions import (
    all_scores,
    constant_seeds,
    median_seed,
    prediction_table,
    predictions,
    task_score,
)
from stages.finetuning.task import Task, TaskExamples


def make_task(kind="classification", metrics=("accuracy", "f1"), **labels) -> Task:
    splits = {
        name: TaskExamples(
            np.arange(len(values)) + 10,
            ["text"] * len(values),
            None,
            None if None in values else np.array(values, dtype=float),
        )
        for name, values in labels.items()
    }
    names = () if kind == "regression" else ("no", "yes")
    return Task("toy", kind, names, tuple(metrics), splits)


def test_scores_are_cut_to_the_range_that_the_task_has():
    task = dataclasses.replace(make_task("regression", ("pearson",)), score_range=(0.0, 5.0))
    assert predictions(task, np.array([[7.5], [-1.0], [2.5]])).tolist() == [5.0, 0.0, 2.5]


def test_classes_are_the_highest_output_and_scores_without_a_range_stay_raw():
    outputs = np.array([[0.1, 0.9], [2.0, -1.0]])
    assert predictions(make_task(), outputs).tolist() == [1.0, 0.0]
    task = make_task("regression", ("pearson",))
    assert predictions(task, np.array([[7.5], [-1.0]])).tolist() == [7.5, -1.0]


def test_dev_is_scored_at_the_top_and_further_dev_splits_below_their_name():
    task = make_task(train=[0, 1], dev=[1, 0], dev_mismatched=[1, 1], test=[0, 1])
    yes = np.array([[0.0, 1.0], [0.0, 1.0]])
    scores = all_scores(task, {"dev": yes, "dev_mismatched": yes, "test": yes})
    assert scores == {
        "accuracy": 0.5,
        "f1": pytest.approx(2 / 3),
        "dev_mismatched": {"accuracy": 1.0, "f1": 1.0},
    }
    assert task_score(task, scores) == pytest.approx((0.5 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({1: 0.5, 2: 0.9, 3: 0.7}, 3),
        ({1: 0.5, 2: 0.9, 3: 0.7, 4: 0.6}, 4),  # the lower of the two in the middle
        ({2: 0.5, 1: 0.5}, 1),
        ({5: 0.1}, 5),
    ],
)
def test_the_median_seed_is_the_lower_middle_one(scores, expected):
    task = make_task(metrics=("accuracy",))
    assert median_seed(task, {seed: {"accuracy": one} for seed, one in scores.items()}) == expected


def test_seeds_whose_predictions_never_change_are_found():
    task = make_task(dev=[0, 1])
    same, other = np.array([[0.0, 1.0], [0.0, 2.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    assert constant_seeds(task, {1: {"dev": same}, 2: {"dev": other}}) == [1]


def test_the_table_holds_a_row_for_every_system_seed_split_and_example():
    task = make_task(dev=[1, 0], test=[None])
    outputs = {"dev": np.array([[0.0, 1.0], [1.0, 0.0]]), "test": np.array([[3.0, 4.0]])}
    table = prediction_table(task, {"encoder": {1: outputs, 2: outputs}, "twin": {1: outputs}})
    assert len(table) == 9
    assert table.slice(6).to_pylist()[1:] == [
        {
            "system": "twin",
            "seed": 1,
            "split": "dev",
            "index": 11,
            "label": 0.0,
            "prediction": 0.0,
            "scores": [1.0, 0.0],
        },
        {
            "system": "twin",
            "seed": 1,
            "split": "test",
            "index": 10,
            "label": None,
            "prediction": 1.0,
            "scores": [3.0, 4.0],
        },
    ]
