import pytest

from stages.tasks.files import read_files
from stages.tasks.glue import GLUE

# From the published layout; what is a subset in the real copy says its own count.
REAL_COUNTS = {
    "CoLA": {"train": 8551, "dev": 1043, "test": 1063},
    "SST-2": {"train": 67349, "dev": 872, "test": 1821},
    "MRPC": {"train": 3668, "dev": 408, "test": 1725},
    "STS-B": {"train": 5749, "dev": 1500, "test": 1379},
    "QQP": {"train": 29372, "dev": 3496},
    "MNLI": {"train": 19652, "dev": 6238},
    "QNLI": {"train": 10293, "dev": 5463, "test": 5463},
    "RTE": {"train": 2490, "dev": 277, "test": 3000},
    "WNLI": {"train": 635, "dev": 71, "test": 146},
}


@pytest.fixture(scope="module")
def real_tasks(real_data):
    return {task.name: task for task in read_files(real_data / "glue", {})}


def test_the_table_holds_the_nine_tasks():
    assert list(GLUE) == [*REAL_COUNTS]
    pairs = {name for name, task in GLUE.items() if task.is_pair}
    assert set(GLUE) - pairs == {"CoLA", "SST-2"}


def test_metrics_are_those_of_the_benchmark():
    assert {name: task.metrics for name, task in GLUE.items()} == {
        "CoLA": ("matthews_correlation",),
        "SST-2": ("accuracy",),
        "MRPC": ("f1", "accuracy"),
        "STS-B": ("pearson", "spearman"),
        "QQP": ("f1", "accuracy"),
        "MNLI": ("accuracy",),
        "QNLI": ("accuracy",),
        "RTE": ("accuracy",),
        "WNLI": ("accuracy",),
    }


def test_class_ids_are_those_of_the_benchmark_and_its_hub_copy():
    # By class id. CoLA, SST-2, MRPC, QQP and WNLI spell the id itself in their files.
    assert {name: task.labels for name, task in GLUE.items()} == {
        "CoLA": ("unacceptable", "acceptable"),
        "SST-2": ("negative", "positive"),
        "MRPC": ("not_equivalent", "equivalent"),
        "STS-B": None,
        "QQP": ("not_duplicate", "duplicate"),
        "MNLI": ("entailment", "neutral", "contradiction"),
        "QNLI": ("entailment", "not_entailment"),
        "RTE": ("entailment", "not_entailment"),
        "WNLI": ("not_entailment", "entailment"),
    }
    numbered = {name for name, task in GLUE.items() if task.label_values == ("0", "1")}
    assert numbered == {"CoLA", "SST-2", "MRPC", "QQP", "WNLI"}
    assert all(GLUE[name].label_values is None for name in GLUE.keys() - numbered)


def test_every_row_of_real_glue_is_read(real_tasks):
    found = {
        name: {split: len(examples) for split, examples in task.splits.items()}
        for name, task in real_tasks.items()
    }
    assert found == REAL_COUNTS
    assert not any(
        split.num_skipped_rows for task in real_tasks.values() for split in task.splits.values()
    )


def test_real_subsets_say_so_and_whole_tasks_do_not(real_tasks):
    notes = {name: task.note for name, task in real_tasks.items() if task.note}
    assert set(notes) == {"QQP", "MNLI", "QNLI"}
    assert notes["QNLI"] == (
        "train is a subset: 10,293 of 104,743; scores are not comparable with published ones"
    )


def test_real_texts_and_labels_are_whole(real_tasks):
    first = real_tasks["MRPC"].splits["dev"]
    assert first.texts_a[0].startswith("He said the foodservice pie business doesn't fit")
    assert first.texts_b[0].startswith('"The foodservice pie business does not fit')
    for task in real_tasks.values():
        train = task.splits["train"]
        assert train.labels is not None
        classes = set(train.labels)
        if task.labels is not None:
            assert classes == set(range(len(task.labels)))
        if "test" in task.splits:
            assert task.splits["test"].labels is None
    # Published: 2,528 of CoLA's training sentences are unacceptable.
    assert sum(label == 0 for label in real_tasks["CoLA"].splits["train"].labels) == 2528
