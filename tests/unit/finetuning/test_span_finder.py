"""Extraction end to end on a toy: what is learnt, kept, scored and refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForQuestionAnswering

from stages.core.artifacts import read_json, write_manifest
from stages.core.errors import SettingsError
from stages.core.settings import parse_section
from stages.core.tracking.journal import RunJournal
from stages.finetuning.params import FinetuningParams
from stages.finetuning.run import run
from tests.unit.finetuning.builders import WORDS, section, write_task

pytestmark = pytest.mark.slow

EXTRACTION = {"stride_tokens": 8, "max_question_tokens": 6, "max_answer_tokens": 3, "num_best": 4}


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.setenv("CLOZE_WORKERS", "1")


def write_questions(folder, sizes):
    """Contexts of words, each with one of `good…`, which is what is asked for."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for split, size in sizes.items():
        rows = []
        for number in range(size):
            words = generator.choice(WORDS[40:], generator.integers(4, 30)).tolist()
            place = int(generator.integers(0, len(words)))
            words[place] = f"good{generator.integers(0, 20)}"
            context = " ".join(words)
            rows.append(
                {
                    "index": number,
                    "id": f"q{number}",
                    "question": "word1 word2",
                    "context": context,
                    "answers": [words[place]],
                    "answer_starts": [context.index(words[place])],
                }
            )
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")
    manifest = {
        "name": "toy",
        "kind": "extraction",
        "labels": None,
        "metrics": ["exact_match", "f1"],
        "is_pair": True,
        "is_glue": False,
        "note": "",
        "splits": {name: {"examples": size, "is_labelled": True} for name, size in sizes.items()},
    }
    write_manifest(folder, "tasks", manifest)
    return folder


def finetune(start, task, out, **changes):
    values = section(seeds=changes.pop("seeds", (1,)), **changes)
    params = parse_section(FinetuningParams, values, where="finetuning")
    run(params, {"start": start, "task": task, "out": out}, RunJournal("test"), "toy")
    return out


def test_it_learns_to_find_answers_and_keeps_each_with_its_scores(start, tmp_path):
    task = write_questions(tmp_path / "task", {"train": 200, "dev": 60})
    out = finetune(
        start, task, tmp_path / "out", extraction=EXTRACTION, num_epochs=8, batch_sequences=16
    )
    facts = read_json(out / "metrics.json")
    found = facts["systems"]["encoder"]["seeds"]["1"]
    assert found["exact_match"] > 0.8
    low, high = facts["intervals"]["exact_match"]["encoder"]
    assert low <= found["exact_match"] <= high
    table = pq.read_table(out / "predictions.parquet").to_pandas()
    assert list(table.columns) == [
        "system",
        "seed",
        "split",
        "index",
        "answer",
        "exact_match",
        "f1",
        "scores",
    ]
    encoder = table[table.system == "encoder"]
    assert encoder.exact_match.mean() == pytest.approx(found["exact_match"])
    golds = pq.read_table(task / "dev.parquet").to_pandas()
    is_right = [
        answer == gold[0] for answer, gold in zip(encoder.answer, golds.answers, strict=True)
    ]
    assert np.mean(is_right) == pytest.approx(found["exact_match"])
    AutoModelForQuestionAnswering.from_pretrained(out / "model")


def test_an_extraction_without_its_settings_says_what_to_add(start, tmp_path):
    task = write_questions(tmp_path / "task", {"train": 8, "dev": 4})
    with pytest.raises(SettingsError, match=r"toy.extraction is missing, .* add \{stride_tokens"):
        finetune(start, task, tmp_path / "out")


def test_extraction_settings_of_a_classification_are_refused(start, tmp_path):
    task = write_task(tmp_path / "task")
    with pytest.raises(SettingsError, match="nothing is extracted in this task; take it out"):
        finetune(start, task, tmp_path / "out", extraction=EXTRACTION)


def test_a_frozen_encoder_does_not_extract(start, tmp_path):
    task = write_questions(tmp_path / "task", {"train": 8, "dev": 4})
    with pytest.raises(SettingsError, match="mode is frozen, and toy extracts answers"):
        finetune(
            start, task, tmp_path / "out", extraction=EXTRACTION, mode="frozen", features="mean"
        )
