"""Reading a task: what it gives, and every fault of its examples named before training starts."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import ArtifactError
from stages.finetuning.task import read_task
from tests.unit.finetuning.builders import write_task


def change_column(path, name, change):
    """Replace values of one column of a parquet file."""
    table = pq.read_table(path)
    place = table.column_names.index(name)
    values = pa.array(change(table.column(name).to_pylist()), table.schema.field(name).type)
    pq.write_table(table.set_column(place, name, values), path)


def test_a_task_is_read_with_its_kind_and_splits(tmp_path):
    task = read_task(write_task(tmp_path / "task", is_pair=True), None)
    assert (task.name, task.num_outputs, task.is_regression) == ("toy", 2, False)
    assert {name: len(examples) for name, examples in task.splits.items()} == {
        "train": 160,
        "dev": 40,
        "test": 20,
    }
    assert task.splits["test"].labels is None
    assert task.splits["train"].text_b == task.splits["train"].text_a[::-1]
    assert task.scored_splits == ["dev"]


def test_the_subset_is_the_same_each_time_and_keeps_examples_whole(tmp_path):
    folder = write_task(tmp_path / "task", is_pair=True)
    whole = read_task(folder, None).splits["train"]
    part, again = (read_task(folder, 32).splits["train"] for _ in range(2))
    assert len(part) == len(set(part.index)) == 32
    assert np.array_equal(part.index, again.index)
    assert part.index.max() > 32  # drawn from all of them, not the first
    for n, place in enumerate(part.index):
        assert part.text_a[n] == whole.text_a[place]
        assert part.text_b[n] == whole.text_b[place]
        assert part.labels[n] == whole.labels[place]


def test_a_limit_above_the_number_of_examples_takes_all(tmp_path):
    assert len(read_task(write_task(tmp_path / "task"), 1000).splits["train"]) == 160


def test_a_task_that_was_not_made_is_refused_with_those_that_were(tmp_path):
    write_task(tmp_path / "tasks" / "toy")
    with pytest.raises(ArtifactError, match=r"tasks/other: no such task, only \['toy'\]; correct"):
        read_task(tmp_path / "tasks" / "other", None)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"sizes": {"train": 20}}, "task toy has no dev split; give it one"),
        ({"sizes": {"dev": 20}}, "task toy has no train split; give it one"),
        ({"sizes": {"train": 0, "dev": 20}}, r"train.parquet: holds no example"),
        ({"sizes": {"train": 20, "dev": 20, "test": 0}}, r"test.parquet: holds no example"),
        (
            {"num_classes": 3, "labels": ["a", "b"]},
            r"has label 2, expected a class id below 2 \(a, b\); mend the label",
        ),
        (
            {"metrics": ["bleu"]},
            r"task toy: its metrics are \['bleu'\]; for 2 classes expected some of \['accuracy',",
        ),
    ],
)
def test_tasks_that_cannot_be_learnt_are_refused(tmp_path, task, message):
    with pytest.raises(ArtifactError, match=message):
        read_task(write_task(tmp_path / "task", **task), None)


def test_a_class_that_train_lacks_is_named(tmp_path):
    folder = write_task(tmp_path / "task", num_classes=3, metrics=["accuracy"])
    change_column(folder / "train.parquet", "label", lambda labels: [min(1, one) for one in labels])
    with pytest.raises(
        ArtifactError, match="dev of task toy has the class class2, which its 160 training examples"
    ):
        read_task(folder, None)


def test_a_class_that_the_limit_leaves_out_is_named(tmp_path):
    folder = write_task(tmp_path / "task", num_classes=3, metrics=["accuracy"])
    with pytest.raises(ArtifactError, match=r"which its 2 training examples lack.*raise max_train"):
        read_task(folder, 2)


def test_an_unlabelled_dev_is_refused(tmp_path):
    folder = write_task(tmp_path / "task")
    (folder / "test.parquet").replace(folder / "dev.parquet")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["splits"]["test"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="dev of task toy has no labels"):
        read_task(folder, None)


@pytest.mark.parametrize("column", ["text_a", "text_b", "label"])
def test_a_missing_value_is_refused_with_its_example(tmp_path, column):
    folder = write_task(tmp_path / "task", is_pair=True)
    change_column(folder / "dev.parquet", column, lambda values: [*values[:3], None, *values[4:]])
    with pytest.raises(ArtifactError, match=f"dev.parquet: example 3 has no {column}, as 1 of 40"):
        read_task(folder, None)


def test_a_score_that_is_no_number_is_refused(tmp_path):
    folder = write_task(tmp_path / "task", kind="regression")
    change_column(folder / "train.parquet", "label", lambda values: [*values[:-1], float("nan")])
    with pytest.raises(ArtifactError, match=r"train.parquet: example 159 has the score nan"):
        read_task(folder, None)


def test_a_damaged_file_is_refused(tmp_path):
    folder = write_task(tmp_path / "task")
    (folder / "dev.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ArtifactError, match=r"dev.parquet: not readable as examples .* run tasks"):
        read_task(folder, None)
