import pytest

from stages.core.artifacts import content_hash, read_manifest
from stages.core.errors import ArtifactError
from stages.core.python_docs import PythonDocument, assigned_split
from stages.core.tracking.journal import RunJournal
from stages.tasks import sample_tasks
from stages.tasks.params import SampleParams
from stages.tasks.run import run
from stages.tasks.sample_tasks import choose, read_sample, sizes_of

VERSIONS = {"python": "3.11.0", "numpy": "2.0"}
NOUNS = ("file", "list", "name", "value", "line", "reader")


def document(number: int) -> PythonDocument:
    text = "\n".join(
        f"The {noun} of part {part} is kept by owner {word}. It then goes to place {word} of it."
        for part, noun in zip(("one", "two", "six"), NOUNS, strict=False)
        for word in (f"{chr(97 + number % 26)}{chr(97 + number // 26)}",)
    )
    return PythonDocument(f"python-docs/m{number}", f"m{number}", text)


@pytest.fixture
def docs(monkeypatch):
    """Made-up documents in the place of the installed packages'."""
    documents = [document(number) for number in range(300)]
    monkeypatch.setattr(
        sample_tasks,
        "read_python_docs",
        lambda splits, *, workers: (d for d in documents if assigned_split(d.id) in splits),
    )
    monkeypatch.setattr(sample_tasks, "check_versions", lambda lock: VERSIONS)
    return documents


@pytest.fixture
def params(make_params):
    return make_params(source="sample", input="requirements.lock")


def test_three_tasks_in_the_three_shapes(docs, params):
    tasks = {task.name: task for task in read_sample(params, {}, workers=1)}
    shapes = {name: (task.kind, task.is_pair, task.metrics) for name, task in tasks.items()}
    assert shapes == {
        "sample-acceptability": ("classification", False, ("matthews_correlation",)),
        "sample-continuation": ("classification", True, ("accuracy",)),
        "sample-similarity": ("regression", True, ("pearson", "spearman")),
    }
    assert not any(task.is_glue for task in tasks.values())
    for task in tasks.values():
        assert {name: len(split) for name, split in task.splits.items()} == {
            "train": 40,
            "dev": 10,
            "test": 10,
        }


def test_only_documents_set_aside_for_tasks_are_used(docs, params):
    allowed = " ".join(doc.text for doc in docs if assigned_split(doc.id) == "tasks")
    (task,) = [t for t in read_sample(params, {}, workers=1) if t.name == "sample-continuation"]
    for split in task.splits.values():
        assert all(sentence in allowed for sentence in split.texts_a)


def test_no_sentence_is_in_two_splits_of_any_task(docs, params):
    found = {"train": set(), "dev": set(), "test": set()}
    for task in read_sample(params, {}, workers=1):
        if task.name != "sample-acceptability":  # its disturbed sentences are others anyway
            for split, examples in task.splits.items():
                found[split].update(examples.texts_a)
    assert not found["train"] & (found["dev"] | found["test"])
    assert not found["dev"] & found["test"]


def test_what_the_text_does_not_give_is_noted(docs, make_params):
    sample = {"train_examples": 4000, "dev_examples": 600, "test_examples": 600}
    params = make_params(source="sample", input="requirements.lock", sample=sample)
    for task in read_sample(params, {}, workers=1):
        assert "of 4,000 asked for: the text gives no more" in task.note


def test_too_little_text_is_refused(monkeypatch, docs, params):
    monkeypatch.setattr(sample_tasks, "read_python_docs", lambda splits, *, workers: iter(docs[:0]))
    with pytest.raises(ArtifactError, match="0 documents with plain sentences are set aside"):
        list(read_sample(params, {}, workers=1))


def test_the_artefact_names_the_versions_and_is_the_same_twice(docs, params, tmp_path):
    for name in ("one", "two"):
        run(params, {"out": tmp_path / name}, RunJournal("test"))
    assert content_hash(tmp_path / "one") == content_hash(tmp_path / "two")
    assert read_manifest(tmp_path / "one", "tasks")["versions"] == VERSIONS


def test_choice_takes_at_most_as_many_and_each_once():
    assert sorted(choose(range(5), 9, seed=1, purpose="test")) == [0, 1, 2, 3, 4]
    assert len(set(choose(range(50), 9, seed=1, purpose="test"))) == 9
    assert choose([], 9, seed=1, purpose="test") == []


def test_sizes_are_those_of_the_settings():
    sample = SampleParams(train_examples=30, dev_examples=20, test_examples=10)
    assert sizes_of(sample) == {"train": 30, "dev": 20, "test": 10}
