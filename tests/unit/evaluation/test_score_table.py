from stages.evaluation.charts import Axis
from stages.evaluation.score_table import seed_rows, shared_axis, task_rows
from stages.evaluation.scores import Measure, TaskScores

WIDE, NARROW = (-0.021, 0.305), (0.1, 0.3)


def intervals(*labels):
    entry = {"encoder": (0.5, 0.9), "twin": (0.4, 0.6), "difference": NARROW}
    return {**dict.fromkeys(labels, entry), "score": {**entry, "difference": WIDE}}


F1, ACCURACY = Measure("dev", "f1"), Measure("dev", "accuracy")
TASK = TaskScores(
    "MRPC",
    (1, 2),
    (F1, ACCURACY),
    {
        "encoder": {F1: (0.80, 0.82), ACCURACY: (0.70, 0.72)},
        "twin": {F1: (0.60, 0.60), ACCURACY: (-0.04, 0.50)},
    },
    intervals("f1", "accuracy"),
)
SINGLE = TaskScores(
    "RTE",
    (1,),
    (ACCURACY,),
    {"encoder": {ACCURACY: (0.6,)}, "twin": {ACCURACY: (0.5,)}},
    intervals("accuracy"),
)


def test_one_axis_holds_every_score_also_a_negative_one():
    axis = shared_axis([TASK, SINGLE])
    assert (axis.low, axis.high) == (-20, 100)


def test_a_task_with_several_measures_has_a_row_for_their_mean_and_one_for_each():
    rows = task_rows(TASK, "ahead", ["subset"], Axis(-20, 100, 20), "task0").rows
    assert [row.detail for row in rows] == ["mean of 2 measures", "F1", "accuracy"]
    assert rows[0].encoder == ("76.0", "\u00b1 1.4", "50.0 to 90.0")
    assert rows[1].twin == ("60.0", "\u00b1 0.0", "40.0 to 60.0")
    assert rows[0].difference[1] == "\u22122.1 to +30.5"
    assert rows[1].difference == ("+21.0", "+10.0 to +30.0")


def test_a_task_with_one_measure_has_one_row():
    (row,) = task_rows(SINGLE, "not distinguishable", [], Axis(0, 100, 20), "task1").rows
    assert (row.detail, row.encoder) == ("accuracy", ("60.0", "one seed", "50.0 to 90.0"))


def test_each_dot_names_its_system_seed_and_score():
    strip = task_rows(SINGLE, "ahead", [], Axis(0, 100, 20), "task1").rows[0].strip
    assert "<title>encoder, seed 1: 60.0</title>" in strip
    assert "<title>random twin, seed 1: 50.0</title>" in strip


def test_no_two_charts_share_an_identity():
    rows = task_rows(TASK, "ahead", [], Axis(-20, 100, 20), "task0").rows
    rows += task_rows(SINGLE, "ahead", [], Axis(-20, 100, 20), "task1").rows
    identities = [row.strip.split('aria-labelledby="')[1].split(" ")[0] for row in rows]
    assert len(set(identities)) == len(rows)


def test_every_seed_is_listed_with_mean_median_and_deviation():
    first = seed_rows(TASK)[0]
    assert (first.measure, first.system, first.values) == ("F1", "encoder", ("80.0", "82.0"))
    assert (first.mean, first.median, first.sd) == ("81.0", "81.0", "1.4")
    assert len(seed_rows(TASK)) == 4
