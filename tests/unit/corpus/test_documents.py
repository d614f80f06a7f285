"""Batches are bounded by size, and a document beyond the limit is cut at line ends."""

import pytest

from stages.corpus import documents
from stages.corpus.documents import RawDocument, batches, hash_split_document


def raw(name: str, text: str) -> RawDocument:
    return RawDocument(name, "", text, is_validation=False)


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    monkeypatch.setattr(documents, "_BATCH_CHARACTERS", 10)
    monkeypatch.setattr(documents, "_BATCH_DOCUMENTS", 3)
    monkeypatch.setattr(documents, "MAX_DOCUMENT_CHARACTERS", 12)


def test_a_batch_ends_at_its_characters_or_documents():
    texts = ["aaaaaa", "bbbbbb", "c", "d", "e", "f"]
    found = list(batches(raw(text[0], text) for text in texts))
    assert [[d.id for d in batch] for batch in found] == [["a", "b"], ["c", "d", "e"], ["f"]]


def test_a_long_document_is_cut_at_the_last_line_end_and_loses_nothing():
    text = "one\ntwo two\nthree" + "x" * 20
    parts = [part for batch in batches([raw("a", text)]) for part in batch]
    assert [part.id for part in parts] == [f"a#part{n}" for n in (1, 2, 3, 4)]
    assert parts[0].text == "one\ntwo two\n"
    assert "".join(part.text for part in parts) == text
    assert all(len(part.text) <= 12 for part in parts)


def test_the_split_depends_on_the_id_alone_and_keeps_its_share():
    def is_validation(number: int, text: str) -> bool:
        return hash_split_document(
            (str(number), "", text), validation_fraction=0.2, is_hard_wrapped=False
        ).is_validation

    found = [is_validation(number, "a") for number in range(5_000)]
    assert found == [is_validation(number, "b") for number in range(5_000)]
    assert sum(found) == pytest.approx(1_000, abs=4 * (5_000 * 0.2 * 0.8) ** 0.5)


def test_an_id_that_is_no_unicode_is_repaired():
    document = hash_split_document(
        ("caf\udce9.txt", "", "x"), validation_fraction=0.5, is_hard_wrapped=False
    )
    assert document.id == "caf\ufffd.txt"
