"""SQuAD's files: what is read, what is written, and what is refused with its place."""

import gzip
import json

import pyarrow.parquet as pq
import pytest

from stages.core.artifacts import read_manifest
from stages.core.errors import ArtifactError
from stages.tasks.splits import write_task
from stages.tasks.squad import read_squad, squad_folder
from tests.unit.tasks.conftest import CONTEXT, asked, squad_file


@pytest.fixture
def read(squad, tmp_path):
    """Read the task after writing another dev file."""

    def read(dev: str | bytes | None = None):
        path = tmp_path / "SQuAD/dev-v1.1.json"
        if dev is not None:
            path.write_bytes(dev.encode() if isinstance(dev, str) else dev)
        return read_squad(tmp_path / "SQuAD")

    return read


def test_questions_are_read_with_all_their_answers(read):
    task = read()
    assert (task.name, task.kind, task.metrics) == ("SQuAD", "extraction", ("exact_match", "f1"))
    assert not task.is_glue
    (question,) = task.splits["dev"].records
    assert (question.id, question.question, question.context) == ("q3", "When?", CONTEXT)
    assert question.answers == ("in 1843", "1843")
    assert question.answer_starts == (28, 31)


def test_another_size_than_the_published_one_is_noted(read):
    assert read().note == (
        "train is a subset: 2 of 87,599; dev is a subset: 1 of 10,570; scores are not comparable "
        "with published ones"
    )


def test_the_artefact_has_a_row_a_question_and_a_manifest_like_other_tasks(read, tmp_path):
    write_task(tmp_path / "out", read())
    table = pq.read_table(tmp_path / "out/dev.parquet")
    assert table.to_pylist() == [
        {
            "index": 0,
            "id": "q3",
            "question": "When?",
            "context": CONTEXT,
            "answers": ["in 1843", "1843"],
            "answer_starts": [28, 31],
        }
    ]
    manifest = read_manifest(tmp_path / "out", "tasks")
    del manifest["content"], manifest["files"], manifest["note"]
    assert manifest == {
        "stage": "tasks",
        "name": "SQuAD",
        "kind": "extraction",
        "labels": None,
        "metrics": ["exact_match", "f1"],
        "score_range": None,
        "is_pair": True,
        "is_glue": False,
        "splits": {
            "train": {"examples": 2, "is_labelled": True},
            "dev": {"examples": 1, "is_labelled": True},
        },
    }


def test_a_compressed_file_and_a_folder_in_lower_case_are_read_too(tmp_path):
    folder = tmp_path / "squad"
    folder.mkdir()
    data = squad_file(asked(1, ("Ada", 0))).encode()
    (folder / "train-v1.1.json.gz").write_bytes(gzip.compress(data))
    (folder / "dev-v1.1.json").write_bytes(data)
    assert squad_folder(tmp_path) == folder
    assert len(read_squad(folder).splits["train"]) == 1


def test_places_are_counted_in_characters_whatever_their_bytes(read):
    context = "🎉 日本 é: ok"
    task = read(squad_file(asked(1, ("ok", 8)), context=context))
    assert task.splits["dev"].records[0].answer_starts == (8,)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (
            asked(1, ("Ada", 0), ("1843", 30)),
            r"dev-v1.1.json: data\[0\].paragraphs\[0\].qas\[0\] \(id q1\): answers\[1\]"
            r".answer_start is 30, where the context has ' 184', expected the answer '1843'; count",
        ),
        (asked(1, ("1843", -5)), "answer_start is -5, where the context has ''"),
        (asked(1, ("1843", 400)), "answer_start is 400, where the context has ''"),
        (asked(1, ("Ada", True)), "answer_start is True, expected a whole number"),
        (asked(1, ("Ada", None)), "answer_start is None, expected a whole number"),
        (asked(1, (" ", 3)), r"answers\[0\].text is ' ', expected text"),
        (asked(1, (None, 3)), r"answers\[0\].text is None, expected text"),
        (asked(1), r"\(id q1\): has no answer, expected at least one; .*SQuAD 2.0's"),
        (asked(1, ("Ada", 0), question=""), r"\(id q1\): question is '', expected text"),
        (asked(1, ("Ada", 0), question="\ud800"), r"question is '\\ud800', expected text"),
        ({"id": "q1", "question": "a"}, r"\(id q1\): answers is missing, expected a list"),
        ({"question": "a", "answers": []}, r"qas\[0\]: id is missing, expected text"),
        ("a", r"qas\[0\]: is a str, expected an object"),
    ],
)
def test_a_faulty_question_is_refused_with_its_place(read, question, message):
    content = json.loads(squad_file(asked(0, ("Ada", 0))))
    content["data"][0]["paragraphs"][0]["qas"] = [question]
    with pytest.raises(ArtifactError, match=message):
        read(json.dumps(content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"dev-v1.1.json: is a list, expected an object"),
        ("{}", "dev-v1.1.json: data is missing, expected a list"),
        ('{"data": []}', "data is empty, expected some"),
        ('{"data": [{"title": "Ada"}]}', r"data\[0\]: paragraphs is missing, expected a list"),
        ('{"data": [{"paragraphs": []}]}', r"data\[0\]: paragraphs is empty, expected some"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', r"paragraphs\[0\]: context is missing"),
        ('{"data": [{"paragraphs": [{"context": "a", "qas": []}]}]}', "holds no question"),
        ('{"data": [', "dev-v1.1.json: not JSON .*expected SQuAD 1.1's file"),
        (b"\xff\xfe\x00", "dev-v1.1.json: not JSON"),
    ],
)
def test_another_layout_is_refused_with_its_place(read, content, message):
    with pytest.raises(ArtifactError, match=message):
        read(content)


def test_an_id_that_is_there_twice_is_refused(read):
    question = asked(1, ("Ada", 0))
    with pytest.raises(ArtifactError, match=r"dev-v1.1.json: two questions have the id 'q1'"):
        read(squad_file(question, question))


def test_a_damaged_compressed_file_is_refused(read, tmp_path):
    (tmp_path / "SQuAD/dev-v1.1.json").unlink()
    damaged = gzip.compress(squad_file(asked(1, ("Ada", 0))).encode())[:-20]
    (tmp_path / "SQuAD/dev-v1.1.json.gz").write_bytes(damaged)
    with pytest.raises(ArtifactError, match=r"dev-v1.1.json.gz: cannot be read"):
        read()


def test_a_missing_file_is_refused(read, tmp_path):
    (tmp_path / "SQuAD/train-v1.1.json").unlink()
    with pytest.raises(ArtifactError, match=r"train-v1.1.json: not found, nor with .gz behind it"):
        read()


@pytest.mark.slow
def test_every_question_of_the_real_files_is_read(real_data):
    task = read_squad(squad_folder(real_data))
    assert {name: len(split) for name, split in task.splits.items()} == {
        "train": 87599,
        "dev": 10570,
    }
    assert task.note == ""
    question = task.splits["dev"].records[0]
    assert (question.id, question.answers[0]) == ("5725b33f6a3fe71400b8952d", "October 1973")
