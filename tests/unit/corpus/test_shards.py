"""Shards: cut by bytes, every document once and in order, the same bytes each time."""

from stages.corpus.shards import CleanDocument, ShardWriter, pack, unpack
from tests.unit.corpus.builders import rows

DOCUMENTS = [CleanDocument(str(n), f"t{n}", "ä" * (n + 1), n % 2 == 0) for n in range(10)]


def write(folder, limit):
    folder.mkdir()
    with ShardWriter(folder, "train", limit) as writer:
        for document in DOCUMENTS:
            writer.write(document)
    return writer


def test_a_shard_closes_when_its_text_reaches_the_limit(tmp_path):
    writer = write(tmp_path / "a", 30)
    found = rows(tmp_path / "a", "train")
    assert [row["id"] for row in found] == [document.id for document in DOCUMENTS]
    assert found[3] == {"id": "3", "title": "t3", "text": "ääää"}
    assert (writer.documents, writer.bytes) == (10, 110)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == [f"train-{n:05d}.parquet" for n in range(3)]


def test_the_bytes_are_the_same_each_time(tmp_path):
    write(tmp_path / "a", 30)
    write(tmp_path / "b", 30)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_no_document_gives_no_shard(tmp_path):
    with ShardWriter(tmp_path, "train", 30):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_is_packed_comes_back():
    assert list(unpack(pack(DOCUMENTS))) == DOCUMENTS
    assert list(unpack(pack([]))) == []
