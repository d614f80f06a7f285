import pytest

from stages.core.errors import SettingsError
from stages.core.settings import PARAMS_FILE, load_section, parse_section
from stages.tasks.params import TasksParams

SAMPLE = {"train_examples": 40, "dev_examples": 10, "test_examples": 10}
VALUES = {"source": "files", "input": "glue", "seed": 1, "sample": SAMPLE}
TASK = {
    "train": "a.csv",
    "dev": "b.csv",
    "text_columns": ["text"],
    "label_column": "label",
    "kind": "classification",
    "metrics": ["accuracy", "macro_f1"],
}


def parse(**changes):
    return parse_section(TasksParams, VALUES | changes, where="tasks")


def test_the_checkouts_own_section_is_valid():
    assert load_section(TasksParams, "tasks", PARAMS_FILE).source == "sample"


def test_a_custom_task_is_read():
    task = parse(custom={"intents": TASK}).custom["intents"]
    assert (task.text_columns, task.metrics) == (("text",), ("accuracy", "macro_f1"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "hub"}, "source is 'hub': state path and revision in tasks.hub"),
        (
            {"hub": {"path": "nyu-mll/glue", "revision": "a" * 40}},
            "tasks.hub is given but source is 'files'",
        ),
        (
            {"source": "hub", "hub": {"path": "nyu-mll/glue", "revision": "main"}},
            "tasks.hub.revision is 'main'",
        ),
        ({"source": "sample", "custom": {"intents": TASK}}, "expected 'files' with tasks.input"),
        ({"custom": {"../x": TASK}}, r"tasks.custom.*'\.\./x'"),
        ({"sample": SAMPLE | {"dev_examples": 0}}, "tasks.sample.dev_examples is 0"),
        ({"sede": 1}, "tasks.sede is not a known parameter; did you mean 'seed'"),
    ],
)
def test_a_wrong_setting_is_refused(change, message):
    with pytest.raises(SettingsError, match=message):
        parse(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ["pearson"]}, r"metrics \['pearson'\] do not fit classification, expected"),
        ({"kind": "regression"}, r"\['accuracy', 'macro_f1'\] do not fit regression"),
        (
            {"kind": "regression", "metrics": ["pearson"], "labels": ["a", "b"]},
            "labels are given, but a regression has none",
        ),
        ({"labels": ["a", "a"]}, "name a class twice"),
        ({"labels": ["a"]}, "labels is"),
        ({"has_header": False}, "positions from 0 with has_header: false"),
        ({"text_columns": [0]}, "expected names with has_header: true"),
        ({"text_columns": ["label"]}, "must differ"),
        ({"has_header": False, "text_columns": [-1], "label_column": 0}, "positions start at 0"),
        ({"text_columns": ["a", "b", "c"]}, "text_columns is"),
        ({"format": "xlsx"}, "format is 'xlsx'"),
    ],
)
def test_a_wrong_custom_task_is_refused(change, message):
    with pytest.raises(SettingsError, match=message):
        parse(custom={"intents": TASK | change})
