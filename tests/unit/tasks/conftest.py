"""A small glue_data folder, a small SQuAD, and settings of the tasks stage."""

import json
from pathlib import Path

import pytest

from stages.tasks.params import TasksParams

SAMPLE = {"train_examples": 40, "dev_examples": 10, "test_examples": 10}


def tasks_params(**changes) -> TasksParams:
    """Valid settings with some of them changed."""
    values = {"source": "files", "input": "glue", "seed": 1, "sample": SAMPLE}
    return TasksParams.model_validate(values | changes)


@pytest.fixture
def make_params():
    return tasks_params


@pytest.fixture
def write(tmp_path):
    """Write lines to a file below the folder of the tasks; returns its path."""

    def write(name: str, *lines: str, end: str = "\n") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes("".join(line + end for line in lines).encode())
        return path

    return write


@pytest.fixture
def rte(write):
    """RTE as the smallest whole task: two training examples, one of dev, one of test."""
    header = "index\tsentence1\tsentence2\tlabel"
    write("RTE/train.tsv", header, "0\tA b.\tA.\tentailment", '1\tC "d.\tE.\tnot_entailment')
    write("RTE/dev.tsv", header, "0\tF.\tG.\tnot_entailment")
    write("RTE/test.tsv", "index\tsentence1\tsentence2", "0\tH.\tI.")
    return write


CONTEXT = "Ada wrote the first program in 1843."


def asked(number: int, *answers: tuple[str, int], question: str = "When?") -> dict:
    """One question as SQuAD's files have it."""
    marked = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": f"q{number}", "question": question, "answers": marked}


def squad_file(*questions: dict, context: str = CONTEXT) -> str:
    """A SQuAD file of one article with one paragraph."""
    paragraph = {"context": context, "qas": list(questions)}
    return json.dumps(
        {"version": "1.1", "data": [{"title": "Ada", "paragraphs": [paragraph]}]},
        ensure_ascii=False,
    )


@pytest.fixture
def squad(write):
    """SQuAD as the smallest whole task: two training questions, one of dev."""
    train = squad_file(asked(1, ("1843", 31)), asked(2, ("Ada", 0), question="Who?"))
    write("SQuAD/train-v1.1.json", train)
    write("SQuAD/dev-v1.1.json", squad_file(asked(3, ("in 1843", 28), ("1843", 31))))
    return write
