"""Plain words: the tokenizer's own ids of each, found in one text of all."""

import string

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from stages.encoding.wordpiece import is_plain, plain_words
from stages.tokenizer.wordpiece import build_tokenizer
from tests.unit.encoding.conftest import ENTRIES


@pytest.mark.parametrize("lowercase", [True, False])
def test_each_word_gets_the_ids_that_it_has_by_itself(lowercase):
    tokenizer = build_tokenizer(ENTRIES, lowercase=lowercase)
    tokenizer.encode_special_tokens = True
    plain = plain_words(tokenizer)
    assert plain is not None
    words = ["the", "The", "harbouring", "keeper", "7", "x" * 100, "x" * 101, *string.punctuation]
    assert all(map(is_plain, words))
    ids = plain.encode(words)
    expected = [tokenizer.encode(word, add_special_tokens=False).ids for word in words]
    assert ids.lengths.tolist() == [len(one) for one in expected]
    assert ids.tokens.tolist() == [index for one in expected for index in one]


def test_no_word_has_no_ids():
    plain = plain_words(build_tokenizer(ENTRIES, lowercase=True))
    assert plain is not None
    ids = plain.encode([])
    assert (len(ids.tokens), len(ids.lengths)) == (0, 0)


@pytest.mark.parametrize("piece", ["", "é", "a\x01", "\n", "a\n", "a,", "don't", "\x7f", "\u0661"])
def test_what_is_no_single_ascii_word_is_not_plain(piece):
    assert not is_plain(piece)


def test_only_a_wordpiece_with_its_usual_mark_has_plain_words():
    assert plain_words(Tokenizer(models.Unigram())) is None
    entries = {"[UNK]": 0, "a": 1, "_a": 2}
    other = models.WordPiece(entries, unk_token="[UNK]", continuing_subword_prefix="_")
    assert plain_words(Tokenizer(other)) is None


def test_starts_are_the_entries_without_the_mark():
    plain = plain_words(build_tokenizer(ENTRIES, lowercase=True))
    assert plain is not None
    assert np.flatnonzero(~plain.is_start).tolist() == [
        number for number, entry in enumerate(ENTRIES) if entry.startswith("##")
    ]
