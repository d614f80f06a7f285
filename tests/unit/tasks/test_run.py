import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from stages.core.artifacts import content_hash, read_manifest
from stages.core.errors import ArtifactError
from stages.core.tracking.journal import RunJournal
from stages.tasks.params import CustomTask
from stages.tasks.run import run


class Journal(RunJournal):
    """Takes the stage's metrics."""

    def __init__(self):
        super().__init__("test")
        self.values = {}

    def metrics(self, values, step=0):
        self.values.update(values)


def test_a_task_is_a_folder_of_parquet_files_and_a_manifest(rte, tmp_path, make_params):
    journal = Journal()
    run(make_params(input=str(tmp_path)), {"out": tmp_path / "out"}, journal)
    table = pq.read_table(tmp_path / "out/RTE/train.parquet").to_pydict()
    assert table == {
        "index": [0, 1],
        "text_a": ["A b.", 'C "d.'],
        "text_b": ["A.", "E."],
        "label": [0, 1],
    }
    test = pq.read_table(tmp_path / "out/RTE/test.parquet")
    assert test.column("label").to_pylist() == [None]
    assert [str(field.type) for field in test.schema] == ["int64", "string", "string", "int64"]
    manifest = read_manifest(tmp_path / "out/RTE", "tasks")
    assert manifest["splits"]["test"] == {"examples": 1, "is_labelled": False}
    assert (manifest["labels"], manifest["metrics"]) == (
        ["entailment", "not_entailment"],
        ["accuracy"],
    )
    assert journal.values["examples.RTE.train"] == 2


def test_the_manifest_of_all_repeats_that_of_each(rte, tmp_path, make_params):
    run(make_params(input=str(tmp_path)), {"out": tmp_path / "out"}, Journal())
    together = read_manifest(tmp_path / "out", "tasks")
    assert together["source"] == "files"
    assert together["tasks"] == {"RTE": read_manifest(tmp_path / "out/RTE", "tasks")}


def test_scores_are_floats_and_single_texts_have_no_second(write, tmp_path, make_params):
    write("t.csv", "text,score", "a,0.5", "b,2")
    task = {
        "train": "t.csv",
        "dev": "t.csv",
        "text_columns": ["text"],
        "label_column": "score",
        "kind": "regression",
        "metrics": ["pearson"],
    }
    params = make_params(input=str(tmp_path), custom={"t": CustomTask.model_validate(task)})
    run(params, {"out": tmp_path / "out"}, Journal())
    table = pq.read_table(tmp_path / "out/t/dev.parquet").to_pydict()
    assert (table["text_b"], table["label"]) == ([None, None], [0.5, 2.0])


def test_two_runs_write_the_same_bytes(rte, tmp_path, make_params):
    for name in ("one", "two"):
        run(make_params(input=str(tmp_path)), {"out": tmp_path / name}, Journal())
    assert content_hash(tmp_path / "one") == content_hash(tmp_path / "two")


def test_a_faulty_task_leaves_the_earlier_artefact_as_it_was(rte, tmp_path, make_params):
    params, paths = make_params(input=str(tmp_path)), {"out": tmp_path / "out"}
    run(params, paths, Journal())
    before = content_hash(tmp_path / "out")
    rte("RTE/dev.tsv", "index\tsentence1\tsentence2\tlabel", "0\ta\tb\tmaybe")
    with pytest.raises(ArtifactError, match="label is 'maybe'"):
        run(params, paths, Journal())
    assert content_hash(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["RTE", "out"]


def test_the_command_line_ends_with_3_on_a_bad_input(rte, tmp_path, make_params):
    rte("RTE/train.tsv", "sentence1,label", "a,b")
    settings = {"tasks": make_params(input=str(tmp_path)).model_dump(mode="json")}
    with (tmp_path / "params.yaml").open("w") as stream:
        YAML(typ="safe", pure=True).dump(json.loads(json.dumps(settings)), stream)
    command = [sys.executable, "-m", "stages.tasks", "--params", str(tmp_path / "params.yaml")]
    ended = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 3, ended.stderr
    assert "RTE/train.tsv: line 1: columns are ['sentence1,label']" in ended.stderr
    assert not (tmp_path / "out").exists()
