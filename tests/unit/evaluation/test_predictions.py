from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import ArtifactError
from stages.evaluation.predictions import PredictionFile


def row(system: str, seed: int, index: int, **changed: Any) -> dict[str, Any]:
    keys = {"system": system, "seed": seed, "split": "dev", "index": index}
    return {**keys, "label": 1.0, "prediction": float(index), "scores": [0.5, 1.5], **changed}


ROWS = [
    row(system, seed, index)
    for system in ("encoder", "twin")
    for seed in (1, 2)
    for index in (1, 0)
]


def write(folder: Path, rows: list[dict[str, Any]]) -> PredictionFile:
    path = folder / "predictions.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return PredictionFile(path)


def test_predictions_come_by_the_index_of_their_examples(tmp_path):
    found = write(tmp_path, ROWS).labelled("twin", 2, "dev")
    assert found.index.tolist() == [0, 1]
    assert found.values.tolist() == [0.0, 1.0]
    assert found.outputs.tolist() == [[0.5, 1.5], [0.5, 1.5]]


def test_answers_are_told_from_predictions_by_their_columns(tmp_path):
    rows = [
        {**row("encoder", 1, index), "answer": "x", "exact_match": 0.0, "f1": 0.5}
        for index in (1, 0)
    ]
    file = write(tmp_path, rows)
    assert file.holds_answers
    assert not write(tmp_path, ROWS).holds_answers
    found = write(tmp_path, rows).answers("encoder", 1, "dev")
    assert (found.texts, found.f1.tolist()) == (("x", "x"), [0.5, 0.5])


def test_seeds_and_sizes_that_fit_are_taken(tmp_path):
    write(tmp_path, ROWS).require([1, 2], {"dev": 2})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[:-2], r"twin: predictions of the seeds \[1\], expected \[1, 2\]"),
        (ROWS[:-1], "twin, seed 2: 1 predictions for dev, expected 2, as the task has examples"),
    ],
)
def test_other_seeds_and_other_numbers_of_examples_are_refused(tmp_path, rows, message):
    with pytest.raises(ArtifactError, match=message):
        write(tmp_path, rows).require([1, 2], {"dev": 2})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("encoder", 1, 0), row("encoder", 1, 0)], "an example is predicted twice"),
        ([row("encoder", 1, 0, label=None), row("encoder", 1, 1)], "example 0 has the label nan"),
        (
            [row("encoder", 1, 0, scores=[1.0]), row("encoder", 1, 1)],
            "3 outputs for 2 examples, expected as many for each",
        ),
    ],
)
def test_predictions_that_cannot_be_counted_are_refused(tmp_path, rows, message):
    with pytest.raises(ArtifactError, match=message):
        write(tmp_path, rows).labelled("encoder", 1, "dev")


def test_a_file_that_is_missing_damaged_or_of_other_columns_is_refused(tmp_path):
    path = tmp_path / "predictions.parquet"
    with pytest.raises(ArtifactError, match=r"predictions\.parquet: missing; run the fine-tuning"):
        PredictionFile(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="not readable as parquet"):
        PredictionFile(path)
    with pytest.raises(ArtifactError, match=r"has no columns \['label', 'prediction', 'scores'\]"):
        write(tmp_path, [{"system": "encoder", "seed": 1, "split": "dev", "index": 0}])
