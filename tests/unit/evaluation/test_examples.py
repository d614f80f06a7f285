from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import ArtifactError
from stages.evaluation.examples import MOST_CHARACTERS, read_examples


@pytest.fixture
def path(tmp_path: Path) -> Path:
    columns = {
        "index": [1, 0],
        "text_a": ["second", "x" * 10_000],
        "text_b": [None, "beside"],
        "label": [1, 0],
    }
    pq.write_table(pa.table(columns), tmp_path / "dev.parquet")
    return tmp_path / "dev.parquet"


def test_texts_are_named_and_long_ones_cut(path):
    found = read_examples(path, are_questions=False)
    assert found.texts(1) == (("text", "second"),)
    (first, long), beside = found.texts(0)
    assert first == "first text"
    assert long == "x" * MOST_CHARACTERS + " \u2026"
    assert beside == ("second text", "beside")


def test_predictions_of_other_examples_or_labels_are_refused(path):
    found, where = read_examples(path, are_questions=False), Path("RTE/predictions.parquet")
    found.require_index(np.array([0, 1]), where)
    found.require_labels(np.array([0.0, 1.0]), where)
    with pytest.raises(ArtifactError, match=r"RTE/predictions\.parquet: example 1 is not in both"):
        found.require_index(np.array([0, 2]), where)
    with pytest.raises(
        ArtifactError, match=r"example 1 has the label 0, but .*dev\.parquet says 1"
    ):
        found.require_labels(np.array([0.0, 0.0]), where)


def test_a_split_that_is_missing_damaged_or_of_another_kind_is_refused(path, tmp_path):
    with pytest.raises(ArtifactError, match=r"has no columns \['question', 'answers'\]"):
        read_examples(path, are_questions=True)
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(ArtifactError, match=r"dev\.parquet: not readable as examples"):
        read_examples(path, are_questions=False)
    with pytest.raises(ArtifactError, match=r"test\.parquet: missing; run tasks again"):
        read_examples(tmp_path / "test.parquet", are_questions=False)
