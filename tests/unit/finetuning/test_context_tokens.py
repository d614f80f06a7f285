"""Which characters each token stands for: exactly, for every kind of tokenizer."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.finetuning.context_tokens import encode_contexts, encode_texts
from tests.unit.finetuning.extraction_builders import SIZES, train_tokenizer

LETTERS = "aeTHz19 \t$,.-(é\u0301ß日本กิ🎉\u200b\u00a0ﬁ"
ANY_TEXT = st.text(LETTERS, max_size=40) | st.text(max_size=20)


def pieces(tokenizer, context):
    """The text that each token stands for."""
    tokens = encode_contexts(tokenizer.tokenizer, [context])
    return [context[a:b] for a, b in zip(tokens.begins, tokens.ends, strict=True)]


def span_text(tokenizer, context, begin, end):
    """The text of the tokens that stand for the characters begin..end, None if none does."""
    tokens = encode_contexts(tokenizer.tokenizer, [context])
    (first,), (last,) = tokens.spans(np.array([0]), np.array([begin]), np.array([end]))
    return context[tokens.begins[first] : tokens.ends[last]] if first <= last else None


def test_ids_are_the_tokenizers_own_without_specials(any_tokenizer):
    texts = ["The lighthouse keeper", "", "x y"]
    encoded, num_cut = encode_texts(any_tokenizer.tokenizer, texts)
    for number, text in enumerate(texts):
        mine = encoded.ids[encoded.offsets[number] : encoded.offsets[number + 1]]
        assert mine.tolist() == any_tokenizer.tokenizer.encode(text, add_special_tokens=False).ids
    assert num_cut == 0


def test_texts_are_cut_to_the_limit_and_counted(any_tokenizer):
    encoded, num_cut = encode_texts(any_tokenizer.tokenizer, ["a b c d e f", "a"], 3)
    assert encoded.lengths[0] == 3
    assert (encoded.lengths[1] < 3, num_cut) == (True, 1)


def test_the_tokenizers_own_limits_do_not_count():
    tokenizer = train_tokenizer("wordpiece")
    tokenizer.tokenizer.enable_truncation(2)
    tokenizer.tokenizer.enable_padding(length=9)
    assert pieces(tokenizer, "a b c") == ["a", "b", "c"]
    assert tokenizer.tokenizer.truncation["max_length"] == 2


def test_a_word_is_found_without_the_space_before_it(any_tokenizer):
    context = "The old\tcafé  wrote $12."
    for word in ("The", "old", "café", "wrote", "12", "$12", "$12."):
        begin = context.index(word)
        assert span_text(any_tokenizer, context, begin, begin + len(word)) == word


def test_spaces_around_an_answer_do_not_move_it(any_tokenizer):
    context = "The old  café wrote"
    assert span_text(any_tokenizer, context, 7, 14) == "café"


def test_an_answer_inside_a_word_takes_its_whole_tokens():
    tokenizer = train_tokenizer("wordpiece")
    assert pieces(tokenizer, "x the y") == ["x", "the", "y"]
    assert span_text(tokenizer, "x the y", 3, 4) == "the"
    assert span_text(tokenizer, "x the y", 0, 3) == "x the"


def test_an_accent_behind_its_letter_stays_with_it(any_tokenizer):
    context = "cafe\u0301 a"
    assert span_text(any_tokenizer, context, 0, 5) == "cafe\u0301"


def test_scripts_without_spaces_are_found_character_by_character(any_tokenizer):
    context = "x 東京は日本の首都です"
    parts = [piece for piece in pieces(any_tokenizer, context) if piece]
    found = span_text(any_tokenizer, context, 5, 7)
    assert found == "日本" if {"日", "本"} & set(parts) else "日本" in found


def test_a_token_of_bytes_of_two_characters_does_not_move_an_answers_end():
    tokenizer = train_tokenizer("bpe")
    assert "本の" in pieces(tokenizer, "日本の")  # the last byte of one, the first two of the other
    assert span_text(tokenizer, "日本の", 0, 2) == "日本"


def test_the_bytes_of_one_character_are_one_border():
    tokenizer = train_tokenizer("bpe")
    context = "🎉"
    tokens = encode_contexts(tokenizer.tokenizer, [context])
    solid = tokens.begins < tokens.ends
    assert solid.sum() == 4
    assert tokens.can_begin.sum() == tokens.can_end.sum() == 1
    first, last = tokens.spans(np.array([0]), np.array([0]), np.array([1]))
    assert tokens.can_begin[first[0]]
    assert tokens.can_end[last[0]]


def test_a_space_mark_stands_for_nothing():
    tokenizer = train_tokenizer("unigram")
    context = "Tz 日"
    tokens = encode_contexts(tokenizer.tokenizer, [context])
    marks = tokens.texts.ids == tokenizer.tokenizer.token_to_id("\u2581")
    assert marks.any()
    assert (tokens.begins == tokens.ends)[marks].all()
    assert not (tokens.can_begin | tokens.can_end)[marks].any()


def test_a_context_without_tokens_has_no_span():
    tokenizer = train_tokenizer("wordpiece")
    tokens = encode_contexts(tokenizer.tokenizer, ["a", " \t", "b"])
    assert tokens.texts.lengths.tolist() == [1, 0, 1]
    first, last = tokens.spans(np.array([1]), np.array([0]), np.array([2]))
    assert first[0] > last[0]


@pytest.mark.parametrize("kind", list(SIZES))
def test_tokens_ascend_and_cover_every_character_that_the_tokenizer_reports(kind):
    tokenizer = train_tokenizer(kind)

    @given(ANY_TEXT)
    @example("e\u0301\u0323 \u0323\u0301")
    @example("\u2581 \u0120")
    def check(context):
        tokens = encode_contexts(tokenizer.tokenizer, [context])
        begins, ends = tokens.begins, tokens.ends
        assert (np.diff(begins) >= 0).all()
        assert (np.diff(ends) >= 0).all()
        assert (begins <= ends).all()
        covered = set()
        for begin, end in zip(begins, ends, strict=True):
            if begin < end:
                assert not context[begin].isspace()
                assert not context[end - 1].isspace()
            covered.update(range(begin, end))
        encoding = tokenizer.tokenizer.encode(context, add_special_tokens=False)
        for begin, end in encoding.offsets:
            assert {n for n in range(begin, end) if not context[n].isspace()} <= covered

    check()


@pytest.mark.parametrize("kind", list(SIZES))
def test_every_span_that_tokens_can_give_is_found_again(kind):
    tokenizer = train_tokenizer(kind)

    @given(ANY_TEXT)
    def check(context):
        tokens = encode_contexts(tokenizer.tokenizer, ["x", context, "y"])
        mine = range(tokens.texts.offsets[1], tokens.texts.offsets[2])
        firsts = [n for n in mine if tokens.can_begin[n]]
        lasts = [n for n in mine if tokens.can_end[n]]
        pairs = [(a, b) for a in firsts for b in lasts if a <= b]
        if not pairs:
            return
        first, last = (np.array(side) for side in zip(*pairs, strict=True))
        found = tokens.spans(np.ones_like(first), tokens.begins[first], tokens.ends[last])
        borders = set(zip(tokens.begins[first].tolist(), tokens.ends[last].tolist(), strict=True))
        assert len(borders) == len(pairs)
        assert (tokens.begins[found[0]] == tokens.begins[first]).all()
        assert (tokens.ends[found[1]] == tokens.ends[last]).all()

    check()
