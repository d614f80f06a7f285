"""Bytes to lines to documents."""

import io

import pytest

from stages.core.errors import ArtifactError
from stages.corpus import text_files
from stages.corpus.text_files import Utf8Text, documents_of_lines


def lines(data: bytes, **settings) -> tuple[list[str], Utf8Text]:
    text = Utf8Text("a.txt")
    return list(text.lines(io.BytesIO(data), **settings)), text


def test_every_line_end_is_one_and_bytes_are_counted():
    found, text = lines("a\r\nb\rc\nä".encode())
    assert found == ["a\n", "b\n", "c\n", "ä"]
    assert text.replaced_bytes == 0


def test_each_invalid_byte_is_replaced_and_counted():
    found, text = lines(b"ok \xff\xfe caf\xe9\n" + "ü".encode())
    assert found == ["ok \ufffd\ufffd caf\ufffd\n", "ü"]
    assert (text.replaced_bytes, text.bytes) == (3, 13)


def test_a_file_is_refused_past_the_share_and_not_at_it():
    text = lines(b"123456789\xff")[1]
    text.refuse_past(0.1)
    with pytest.raises(ArtifactError, match=r"a.txt: 1 of 10 bytes are no valid UTF-8 \(10.00%\)"):
        text.refuse_past(0.09)


def test_an_empty_file_is_refused():
    with pytest.raises(ArtifactError, match=r"a.txt: the file is empty"):
        lines(b"")


@pytest.mark.parametrize(
    "data", [bytes(range(256)), "plain".encode("utf-16"), b"\x7fELF\x02\x01\x01\x00"]
)
def test_a_binary_file_is_refused(data):
    with pytest.raises(ArtifactError, match=r"a.txt: looks binary"):
        lines(data)


def test_a_line_without_end_is_cut_for_documents_and_whole_for_records(monkeypatch):
    monkeypatch.setattr(text_files, "MAX_DOCUMENT_CHARACTERS", 4)
    assert lines(b"aaaabbbbcc\n")[0] == ["aaaa", "bbbb", "cc\n"]
    assert lines(b"aaaabbbbcc\n", is_cut=False)[0] == ["aaaabbbbcc\n"]


def test_documents_end_at_blank_lines_or_at_the_file():
    source = ["\n", "a\n", "b\n", " \t\n", "\n", "c\n"]
    assert list(documents_of_lines(source, is_cut_at_blank_lines=True)) == ["a\nb\n", "c\n"]
    assert list(documents_of_lines(source, is_cut_at_blank_lines=False)) == ["".join(source)]


def test_a_file_longer_than_a_document_goes_on_as_the_next(monkeypatch):
    monkeypatch.setattr(text_files, "MAX_DOCUMENT_CHARACTERS", 5)
    found = documents_of_lines(["aa\n", "b\n", "cc\n"], is_cut_at_blank_lines=False)
    assert list(found) == ["aa\nb\n", "cc\n"]
