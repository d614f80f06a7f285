"""The memory of pieces: each is learnt once, put together in order, and forgotten when too many."""

import numpy as np
import pytest

from stages.encoding import pieces
from stages.encoding.cuts import cut_at_words
from stages.encoding.pieces import Ids, PieceMemory


class Letters:
    """Knows the letters of a piece as its ids, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, fresh: list[str]) -> Ids:
        self.asked += fresh
        text = "".join(fresh)
        return Ids(np.array([ord(one) for one in text], np.int64), np.array([*map(len, fresh)]))


@pytest.fixture
def letters() -> Letters:
    return Letters()


@pytest.fixture
def memory(letters) -> PieceMemory:
    return PieceMemory(cut_at_words, letters, np.dtype("<u2"))


def texts_of(ids: Ids) -> list[str]:
    ends = np.cumsum(ids.lengths)
    return ["".join(map(chr, part)) for part in np.split(ids.tokens, ends[:-1])]


def test_sentences_are_put_together_from_their_pieces_in_order(memory):
    ids = memory.encode(["to be, or", "", "not to be"])
    assert ids.tokens.dtype == np.dtype("<u2")
    assert texts_of(ids) == ["tobe,or", "", "nottobe"]


def test_a_piece_is_learnt_once(memory, letters):
    memory.encode(["to be, or", "not to be"])
    memory.encode(["to see", "to be"])
    assert letters.asked == ["to", "be", ",", "or", "not", "see"]


def test_long_pieces_are_not_remembered(memory, letters):
    long = "x" * 49
    for _ in range(2):
        assert texts_of(memory.encode([f"{long} {long}", "x" * 48])) == [long * 2, "x" * 48]
    assert letters.asked == [long, "x" * 48, long]


def test_a_full_memory_forgets_and_grows_again(memory, letters, monkeypatch):
    monkeypatch.setattr(pieces, "_MOST_PIECES", 3)
    for _ in range(2):
        assert texts_of(memory.encode(["a b c d"])) == ["abcd"]
    assert letters.asked == ["a", "b", "c", "d"] * 2


def test_more_than_there_was_room_for_at_first_is_kept(memory):
    words = [f"{number}" for number in range(20_000)]
    assert texts_of(memory.encode(words)) == words
    assert texts_of(memory.encode(words[::-1])) == words[::-1]


def test_no_sentence_gives_nothing(memory):
    ids = memory.encode([])
    assert (len(ids.tokens), len(ids.lengths)) == (0, 0)
