"""The hub source, with local folders as stand-ins for repositories."""

from itertools import islice

import pytest

from stages.core.errors import ArtifactError
from stages.corpus.documents import RawDocument, SourceFacts
from stages.corpus.hub import mix, read_hub
from stages.corpus.params import HubDataset, HubParams
from tests.unit.corpus.builders import write_jsonl

REVISION = "0" * 40


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Make a folder that `datasets` loads, with documents of a given length."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))

    def make(name: str, count: int, characters: int) -> str:
        folder = tmp_path / name
        folder.mkdir()
        records = [{"key": str(n), "body": name[0] * characters} for n in range(count)]
        write_jsonl(folder / "train.jsonl", records)
        return str(folder)

    return make


def dataset(path: str, **settings) -> HubDataset:
    return HubDataset(path=path, revision=REVISION, text_column="body", **settings)


def read(*datasets: HubDataset, **settings):
    params = HubParams(datasets=datasets, validation_fraction=0.5, **settings)
    return list(read_hub(params, SourceFacts()))


def raw(name: str, characters: int) -> RawDocument:
    return RawDocument(name, "", "x" * characters, is_validation=False)


def test_datasets_without_weights_follow_each_other_whole(repository):
    one, two = repository("one", 2, 5), repository("two", 1, 5)
    found = read(dataset(one, id_column="key"), dataset(two, id_column="key", unwrap_lines=True))
    assert [(d.id, d.text) for d in found] == [("0", "ooooo"), ("1", "ooooo"), ("1:0", "ttttt")]
    assert [d.is_hard_wrapped for d in found] == [False, False, True]


def test_without_an_id_column_an_id_names_dataset_split_and_row(repository):
    assert [d.id for d in read(dataset(repository("one", 2, 5)))] == ["one/train#0", "one/train#1"]


def test_a_mixture_keeps_its_weights_in_characters_at_every_point():
    streams = [[raw("a", 10)] * 1_000, [raw("b", 90)] * 1_000]
    found = list(islice(mix(streams, [3.0, 1.0]), 500))
    assert found == list(islice(mix(streams, [3.0, 1.0]), 500))
    read_characters = {"a": 0, "b": 0}
    for document in found:
        read_characters[document.id] += len(document.text)
        assert abs(read_characters["a"] / 3 - read_characters["b"]) <= 90


def test_a_mixture_ends_with_the_first_dataset_that_runs_out(repository):
    one, two = repository("one", 3, 10), repository("two", 50, 10)
    found = read(dataset(one, weight=1.0), dataset(two, weight=2.0))
    counts = [sum(d.text[0] == letter for d in found) for letter in "ot"]
    assert counts[0] == 3
    assert 4 <= counts[1] <= 6


def test_reading_stops_at_the_characters_set(repository):
    assert len(read(dataset(repository("one", 50, 10)), max_characters=95)) == 10


def test_the_manifest_names_what_was_read(repository):
    facts, path = SourceFacts(), repository("one", 1, 5)
    params = HubParams(datasets=(dataset(path),), validation_fraction=0.5)
    list(read_hub(params, facts))
    assert facts.properties["datasets"] == [
        {"path": path, "name": None, "revision": REVISION, "split": "train", "weight": None}
    ]


def test_a_dataset_that_cannot_be_reached_is_named(repository):
    with pytest.raises(ArtifactError, match=r"hub dataset no/such .*check the spelling"):
        read(dataset("no/such"))
    with pytest.raises(ArtifactError, match=r"split dev.*Bad split"):
        read(dataset(repository("one", 1, 5), split="dev"))


def test_a_wrong_column_is_named(repository):
    wrong = HubDataset(path=repository("one", 1, 5), revision=REVISION)
    with pytest.raises(ArtifactError, match=r"row 0: has no column 'text', found"):
        read(wrong)
