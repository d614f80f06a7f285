"""The files source: formats, compressions, filesystems, and each kind of bad input."""

import gzip
import json
import shutil

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from stages.core.errors import ArtifactError
from stages.corpus.documents import SourceFacts
from stages.corpus.files import read_files
from tests.unit.corpus.builders import corpus_params, write_jsonl

COLUMNS = {"text_column": "body", "title_column": "name", "id_column": "key"}
RECORDS = [{"key": 7, "name": "T", "body": "first"}, {"key": None, "name": None, "body": "second"}]


def read(source, facts=None, **settings):
    return list(read_files(corpus_params(source, **settings), facts or SourceFacts()))


def contents(documents):
    return [(d.id, d.title, d.text) for d in documents]


def test_files_come_in_the_order_of_their_relative_paths(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("c.txt", "a.txt", "b/x.txt"):
        (tmp_path / name).write_text(f"in {name}")
    expected = [(name, "", f"in {name}") for name in ("a.txt", "b/x.txt", "c.txt")]
    assert contents(read(tmp_path, patterns=["**/*.txt"])) == expected
    assert contents(read(tmp_path, patterns=["*.txt", "c.*"])) == [expected[0], expected[2]]
    assert contents(read(tmp_path / "b" / "x.txt")) == [("x.txt", "", "in b/x.txt")]


def test_linked_files_are_read_and_a_broken_link_is_named(tmp_path):
    (tmp_path / "outside.txt").write_text("text")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.txt").symlink_to(tmp_path / "outside.txt")
    assert contents(read(tmp_path / "source")) == [("a.txt", "", "text")]
    (tmp_path / "source" / "b.txt").symlink_to(tmp_path / "nowhere.txt")
    with pytest.raises(ArtifactError, match=r"b.txt: cannot be read .*No such file"):
        read(tmp_path / "source")


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_blank_lines_end_documents_in_plain_and_compressed_text(tmp_path, suffix):
    data = b"one\ntwo\n\n\nthree\n"
    packed = {"": data, ".gz": gzip.compress(data), ".zst": zstandard.compress(data)}[suffix]
    (tmp_path / f"a.txt{suffix}").write_bytes(packed)
    found = read(tmp_path, document_boundary="blank-line", unwrap_lines=True)
    assert contents(found) == [
        (f"a.txt{suffix}#0", "", "one\ntwo\n"),
        (f"a.txt{suffix}#1", "", "three\n"),
    ]
    assert all(document.is_hard_wrapped for document in found)


def test_several_members_of_a_compressed_file_are_read(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one ") + gzip.compress(b"two"))
    (tmp_path / "b.txt.zst").write_bytes(zstandard.compress(b"one ") + zstandard.compress(b"two"))
    assert [document.text for document in read(tmp_path)] == ["one two", "one two"]


def test_jsonl_and_parquet_give_the_same_documents(tmp_path):
    write_jsonl(tmp_path / "a.jsonl.gz", RECORDS)
    pq.write_table(pa.Table.from_pylist(RECORDS), tmp_path / "b.parquet", row_group_size=1)
    assert contents(read(tmp_path, **COLUMNS)) == [
        ("7", "T", "first"),
        ("a.jsonl.gz#1", "", "second"),
        ("7", "T", "first"),
        ("b.parquet#1", "", "second"),
    ]


def test_any_fsspec_filesystem_can_hold_the_files():
    memory = fsspec.filesystem("memory")
    memory.pipe("/corpus/a.txt", b"in memory")
    try:
        assert contents(read("memory://corpus")) == [("a.txt", "", "in memory")]
    finally:
        memory.rm("/corpus", recursive=True)


def test_a_null_text_is_an_empty_document(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"text": None}])
    assert [document.text for document in read(tmp_path)] == [""]


def test_invalid_bytes_are_replaced_and_counted_in_every_format(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 and so on")
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "caf\xe9"}\n')
    bytes_array = pa.array([b"caf\xe9"], pa.binary())
    strings = pa.Array.from_buffers(pa.string(), 1, bytes_array.buffers())
    pq.write_table(pa.table({"text": strings}), tmp_path / "c.parquet")
    facts = SourceFacts()
    found = read(tmp_path, facts, cleaning={"max_invalid_utf8_fraction": 0.5})
    assert [document.text for document in found] == [
        "caf\ufffd and so on",
        "caf\ufffd",
        "caf\ufffd",
    ]
    assert facts.replaced_bytes == 3
    with pytest.raises(ArtifactError, match=r"a.txt: 1 of 14 bytes are no valid UTF-8"):
        read(tmp_path)


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"nowhere: no such file or folder; set corpus.input"):
        read(tmp_path / "nowhere")


def test_patterns_that_match_nothing_are_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"no file matches corpus.files.patterns \['\*.txt'\]"):
        read(tmp_path, patterns=["*.txt"])


def test_an_unknown_suffix_asks_for_the_format(tmp_path):
    (tmp_path / "wiki_01").write_text("text")
    with pytest.raises(ArtifactError, match=r"wiki_01: its suffix names no known format"):
        read(tmp_path)
    assert [document.text for document in read(tmp_path, format="txt")] == ["text"]


def test_a_txt_file_asks_where_documents_end(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ArtifactError, match=r"Set corpus.files.document_boundary"):
        read(tmp_path, document_boundary=None)


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.zst", "a.parquet", "a.jsonl.gz"])
@pytest.mark.parametrize("damage", ["cut", "nonsense", "empty"])
def test_a_damaged_file_is_refused_and_named(tmp_path, name, damage):
    path = tmp_path / name
    text = "".join(chr(33 + i * i % 90) for i in range(40_000))
    if name == "a.parquet":
        pq.write_table(pa.table({"text": [text]}), path)
    else:
        data = json.dumps({"text": text}).encode()
        pack = zstandard.compress if name.endswith("zst") else gzip.compress
        path.write_bytes(pack(data))
    whole = path.read_bytes()
    broken = {"cut": whole[: len(whole) // 2], "nonsense": b"not what it says", "empty": b""}
    path.write_bytes(broken[damage])
    with pytest.raises(ArtifactError, match=rf"{name}: (cannot be read|the file is empty)"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_wrong_column_is_named_beside_those_that_are_there(tmp_path, name):
    if name == "a.jsonl":
        write_jsonl(tmp_path / name, [{"text": "x", "url": "y"}])
    else:
        pq.write_table(pa.table({"text": ["x"], "url": ["y"]}), tmp_path / name)
    for setting in ("text_column", "id_column", "title_column"):
        with pytest.raises(ArtifactError, match=r"no column 'body', found \['text', 'url'\]"):
            read(tmp_path, **{setting: "body"})


def test_a_text_that_is_no_string_is_refused(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"text": "x"}, {"text": 3}])
    with pytest.raises(ArtifactError, match=r"a.jsonl: line 2: 'text' is int, expected a string"):
        read(tmp_path)


@pytest.mark.parametrize("line", ["{broken", '["a list"]', '"a string"'])
def test_a_line_that_is_no_object_is_named_by_its_number(tmp_path, line):
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n\n' + line + "\n")
    with pytest.raises(ArtifactError, match=r"a.jsonl: line 3 is no JSON"):
        read(tmp_path)


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("text")
    local = fsspec.filesystem("file")

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied", "a.txt")

    monkeypatch.setattr(type(local), "_open", refuse)
    with pytest.raises(ArtifactError, match=r"a.txt: cannot be read .*Permission denied"):
        read(tmp_path)


def test_the_order_and_ids_do_not_depend_on_where_the_files_lie(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.txt").write_text("text")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert read(tmp_path / "one") == read(tmp_path / "two")
