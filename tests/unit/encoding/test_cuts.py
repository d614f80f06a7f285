"""Where each tokenizer's sentences are cut, and the pieces by hand."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from stages.encoding.cuts import cut_at_words, cut_before_spaces, find_cut, not_cut


def tokenizer(before=None, normalizer=None) -> Tokenizer:
    made = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    if before:
        made.pre_tokenizer = before
    if normalizer:
        made.normalizer = normalizer
    made.encode_special_tokens = True
    return made


def bert() -> Tokenizer:
    return tokenizer(pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer())


def test_each_tokenizer_is_cut_where_it_never_joins():
    assert find_cut(bert()) is cut_at_words
    assert find_cut(tokenizer(pre_tokenizers.BertPreTokenizer())) is cut_at_words
    assert find_cut(tokenizer(pre_tokenizers.ByteLevel())) is cut_before_spaces
    assert find_cut(tokenizer(pre_tokenizers.ByteLevel(use_regex=False))) is not_cut
    assert find_cut(tokenizer()) is not_cut
    assert find_cut(tokenizer(pre_tokenizers.Metaspace())) is not_cut
    assert find_cut(tokenizer(pre_tokenizers.BertPreTokenizer(), normalizers.NFKC())) is not_cut


def test_a_tokenizer_that_looks_for_added_tokens_is_not_cut():
    added, special = bert(), bert()
    added.add_tokens(["the harbour"])
    assert find_cut(added) is not_cut
    special.encode_special_tokens = False
    assert find_cut(special) is not_cut


@pytest.mark.parametrize(
    ("sentence", "pieces"),
    [
        ("The boats won't keep.", ["The", "boats", "won", "'", "t", "keep", "."]),
        ("a  b , c", ["a", "b", ",", "c"]),
        ("(é\u2013東京)", ["(", "é\u2013東京", ")"]),
        ("a\tb\u00a0c\x00", ["a\tb\u00a0c\x00"]),
        ("--", ["-", "-"]),
        ("", []),
    ],
)
def test_words_are_what_spaces_and_ascii_punctuation_part(sentence, pieces):
    assert cut_at_words([sentence]).to_pylist() == [*pieces, "\n"]
    assert cut_at_words(["x", sentence, "y"]).to_pylist() == ["x", "\n", *pieces, "\n", "y", "\n"]


def test_byte_level_words_know_whether_they_begin_a_sentence():
    cut = cut_before_spaces(["one two", "odd  spaces", "three"])
    assert cut.to_pylist() == ["\none", "two", "\n", "\nodd  spaces", "\n", "\nthree", "\n"]


def test_what_may_be_joined_is_left_whole():
    assert not_cut(["one two", "x"]).to_pylist() == ["one two", "\n", "x", "\n"]


@pytest.mark.parametrize("cut", [cut_at_words, cut_before_spaces, not_cut])
def test_no_sentence_has_no_piece(cut):
    assert len(cut([])) == 0


def test_every_ascii_byte_but_letters_digits_and_controls_parts_words():
    for code in range(33, 127):
        is_word = chr(code).isalnum()
        assert len(cut_at_words([f"a{chr(code)}b"])) - 1 == (1 if is_word else 3)
    for code in np.r_[0:10, 11:32, 127]:
        assert len(cut_at_words([f"a{chr(code)}b"])) - 1 == 1
