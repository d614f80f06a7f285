from pathlib import Path

import numpy as np
import pytest

from stages.core.artifacts import content_hash, write_json, write_manifest
from stages.core.errors import ArtifactError
from stages.registration.evidence import (
    Evidence,
    evidence_of_version,
    read_answers,
    read_evidence,
)
from tests.unit.registration.builders import classifier, write_predictions

TASK = {"content": "data.dir", "kind": "classification", "metrics": ["accuracy", "f1"]}


def test_evidence_of_a_fine_tuning_survives_as_tags_of_a_version(tmp_path: Path) -> None:
    write_predictions(tmp_path / "predictions.parquet", {"label": {1: [0]}, "prediction": {1: [1]}})
    write_json(tmp_path / "metrics.json", {"median_seed": 7})
    write_manifest(tmp_path, "finetuning", {"task": "MRPC", "seeds": [3, 7, 9]})
    made = read_evidence(tmp_path, TASK)
    assert made.tags() == {
        "cloze.task": "MRPC",
        "cloze.task_hash": "data.dir",
        "cloze.kind": "classification",
        "cloze.metrics": '["accuracy", "f1"]',
        "cloze.seeds": "[3, 7, 9]",
        "cloze.median_seed": "7",
        "cloze.predictions_hash": content_hash(tmp_path / "predictions.parquet"),
    }
    again = evidence_of_version("version 1", made.tags())
    assert (again.task, again.task_hash, again.kind) == ("MRPC", "data.dir", "classification")
    assert (again.metrics, again.median_seed) == (("accuracy", "f1"), 7)
    assert made.files == (tmp_path / "predictions.parquet", tmp_path / "metrics.json")


def test_a_version_without_evidence_is_refused_by_name() -> None:
    with pytest.raises(ArtifactError, match="version 2 of cloze-rte: carries no predictions"):
        evidence_of_version("version 2 of cloze-rte", {"cloze.task": "RTE"})


def test_answers_are_the_encoders_on_labelled_development_splits_in_index_order(
    tmp_path: Path,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    evidence = classifier(tmp_path, [0, 1], {1: [0, 0], 2: [1, 1]})
    own = pq.read_table(evidence.predictions)
    parts = [own.take([1, 0, 3, 2])]  # out of order
    for system, split, labels in (
        ("twin", "dev", [0, 1]),
        ("encoder", "test", [None, None]),
        ("encoder", "train", [0, 1]),
        ("encoder", "dev_mismatched", [1, 0]),
    ):
        path = tmp_path / "part.parquet"
        both = {1: labels, 2: labels}
        columns = {"label": both, "prediction": {1: [9, 8], 2: [9, 8]}}
        write_predictions(path, columns, splits=(split,), system=system)
        parts.append(pq.read_table(path).select(own.column_names))
    pq.write_table(pa.concat_tables(parts), evidence.predictions)
    answers = read_answers(evidence)
    assert list(answers) == ["dev", "dev_mismatched"]
    dev = answers["dev"]
    assert dev.index.tolist() == [0, 1]
    assert dev.labels is not None
    assert dev.labels.tolist() == [0, 1]
    assert {seed: guess.tolist() for seed, guess in dev.by_seed.items()} == {1: [0, 0], 2: [1, 1]}


def test_an_extraction_answers_with_the_mean_of_exact_match_and_f1(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    write_predictions(path, {"exact_match": {5: [1, 0]}, "f1": {5: [1, 0.5]}})
    evidence = Evidence("SQuAD", "h", "extraction", ("exact_match", "f1"), 5, path)
    answers = read_answers(evidence)["dev"]
    assert answers.labels is None
    np.testing.assert_array_equal(answers.by_seed[5], [1.0, 0.25])


def test_a_file_without_the_columns_of_its_kind_is_refused(tmp_path: Path) -> None:
    evidence = classifier(tmp_path, [0], {1: [0]})
    broken = Evidence("SQuAD", "h", "extraction", ("f1",), 1, evidence.predictions)
    with pytest.raises(ArtifactError, match=r"task SQuAD are not readable.*exact_match"):
        read_answers(broken)


def test_a_file_without_a_development_split_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    columns = {"label": {1: [None]}, "prediction": {1: [1]}}
    write_predictions(path, columns, splits=("test",))
    with pytest.raises(ArtifactError, match="task RTE has no labelled development split"):
        read_answers(Evidence("RTE", "h", "classification", ("accuracy",), 1, path))


def test_seeds_that_answer_different_examples_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    write_predictions(path, {"label": {1: [0, 1], 2: [0]}, "prediction": {1: [0, 1], 2: [0]}})
    with pytest.raises(ArtifactError, match="seed 2 of task RTE answers other examples"):
        read_answers(Evidence("RTE", "h", "classification", ("accuracy",), 1, path))
