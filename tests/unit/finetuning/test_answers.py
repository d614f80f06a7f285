"""The best answers: worked by hand, against a plain search, and from perfect logits."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.finetuning.answers import best_answers
from stages.finetuning.windows import answer_positions
from tests.unit.finetuning.extraction_builders import (
    SIZES,
    perfect_logits,
    settings,
    train_tokenizer,
    windows_of,
)

# Byte-level BPE and Unigram glue a word to the punctuation behind it.
LEAST_ALIGNED = {"wordpiece": 0.99, "bpe": 0.98, "unigram": 0.92}


@pytest.fixture(scope="module")
def letters():
    """A tokenizer to which each letter is a word of its own."""
    return train_tokenizer("wordpiece")


def test_answers_are_context_tokens_in_order_of_the_sum_of_their_logits(letters):
    context = "a b c"
    windows = windows_of(letters, ["x"], [context])
    # [CLS] x [SEP] a b c [SEP]; what is not context scores highest and is no answer.
    starts = np.array([9.0, 9, 9, 1, 4, 0, 9])
    ends = np.array([9.0, 9, 9, 5, 2, 3, 9])
    found = best_answers(windows, starts, ends, settings(num_best=7))
    texts = [context[a:b] for a, b in zip(found.begins[0], found.ends[0], strict=True)]
    # b..c 4+3, a 1+5, b 4+2, a..c 1+3, a..b 1+2, c 0+3; there is no seventh.
    assert texts == ["b c", "a", "b", "a b c", "a b", "c", ""]
    assert found.scores[0].tolist() == [7, 6, 6, 4, 3, 3, -np.inf]
    assert found.texts([context]) == ["b c"]


def test_equals_are_ordered_by_their_place_then_their_length(letters):
    windows = windows_of(letters, ["x"], ["a b c"])
    found = best_answers(windows, np.zeros(7), np.zeros(7), settings(num_best=3))
    assert found.begins[0].tolist() == [0, 0, 0]
    assert found.ends[0].tolist() == [1, 3, 5]


def test_an_answer_is_not_longer_than_the_limit(letters):
    windows = windows_of(letters, ["x"], ["a b c d"])
    starts, ends = np.zeros(8), np.zeros(8)
    starts[3], ends[6] = 5.0, 5.0  # a..d would score 10
    found = best_answers(windows, starts, ends, settings(max_answer_tokens=3, num_best=2))
    assert found.scores[0].tolist() == [5.0, 5.0]
    assert (found.begins[0, 0], found.ends[0, 0]) == (0, 1)


def test_an_answer_lies_in_one_window_and_begins_where_its_token_has_most_context(letters):
    context = "a b c d e f g h i j k"
    windows = windows_of(letters, ["x y"], [context], 12, stride_tokens=4)
    size = len(windows.features.ids)
    starts, ends = np.zeros(size), np.zeros(size)
    starts[8] = 3.0  # e in the first window, where it counts
    starts[12 + 4] = 7.0  # e in the second, which has nothing to its left
    ends[12 + 10] = 2.0  # k, in the second window alone
    found = best_answers(windows, starts, ends, settings(num_best=1))
    assert found.texts([context]) == ["e"]
    assert found.scores[0, 0] == 3.0


def test_questions_do_not_see_each_other(letters):
    windows = windows_of(letters, ["x", "y"], ["a b", "c"])
    starts, ends = np.zeros(11), np.zeros(11)
    starts[4] = ends[4] = 9.0
    found = best_answers(windows, starts, ends, settings(num_best=2))
    assert found.texts(["a b", "c"]) == ["b", "c"]
    assert found.scores.tolist() == [[18.0, 9.0], [0.0, -np.inf]]


def test_a_context_without_tokens_has_the_empty_answer(letters):
    windows = windows_of(letters, ["x"], [" "])
    found = best_answers(windows, np.zeros(4), np.zeros(4), settings(num_best=2))
    assert found.texts([" "]) == [""]
    assert found.scores[0].tolist() == [-np.inf, -np.inf]


def test_the_bytes_of_a_character_give_one_answer():
    windows = windows_of(train_tokenizer("bpe"), ["x"], ["🎉"])
    size = len(windows.features.ids)
    found = best_answers(windows, np.zeros(size), np.zeros(size), settings(num_best=3))
    assert found.scores[0].tolist() == [0.0, -np.inf, -np.inf]
    assert found.texts(["🎉"]) == ["🎉"]


def plain_search(windows, starts, ends, most_tokens):
    """Question -> {(begin, end): score}, pair by pair."""
    maximum = windows.has_maximum_context()
    tokens, row = windows.tokens, 0
    answers = [{} for _ in windows.context]
    for number, question in enumerate(windows.question):
        size, base = windows.num_tokens[number], windows.features.offsets[number]
        base += windows.first_position[number]
        for first in range(size):
            for last in range(first, min(size, first + most_tokens)):
                one, other = windows.first_token[number] + np.array([first, last])
                if maximum[row + first] and tokens.can_begin[one] and tokens.can_end[other]:
                    span = int(tokens.begins[one]), int(tokens.ends[other])
                    assert span not in answers[question]
                    answers[question][span] = starts[base + first] + ends[base + last]
        row += size
    return answers


@pytest.mark.parametrize("kind", list(SIZES))
def test_the_best_are_those_of_a_plain_search_over_all_pairs(kind):
    tokenizer = train_tokenizer(kind)
    texts = st.text("ab z1é日ก ", max_size=40)

    @given(
        st.lists(st.tuples(st.text("ab c", max_size=6), texts), min_size=1, max_size=3),
        st.integers(1, 12),
        st.integers(1, 8),
        st.integers(1, 6),
        st.integers(0, 2**31),
    )
    def check(pairs, stride, most_tokens, num_best, seed):
        questions, contexts = zip(*pairs, strict=True)
        windows = windows_of(tokenizer, questions, contexts, 18, stride_tokens=stride)
        generator = np.random.default_rng(seed)
        starts, ends = generator.normal(size=(2, len(windows.features.ids)))
        chosen = settings(max_answer_tokens=most_tokens, num_best=num_best)
        found = best_answers(windows, starts, ends, chosen)
        for number, answers in enumerate(plain_search(windows, starts, ends, most_tokens)):
            ranked = sorted(answers.items(), key=lambda item: -item[1])[:num_best]
            spans = zip(found.begins[number], found.ends[number], strict=True)
            assert list(spans)[: len(ranked)] == [span for span, _ in ranked]
            missing = [-np.inf] * (num_best - len(ranked))
            assert found.scores[number].tolist() == [score for _, score in ranked] + missing

    check()


@pytest.mark.parametrize("kind", list(SIZES))
def test_an_aligned_answer_comes_back_from_perfect_logits(kind):
    tokenizer = train_tokenizer(kind)

    @given(
        st.text("ab z1é日ก\u0301 ", min_size=1, max_size=50),
        st.integers(0, 49),
        st.integers(1, 6),
        st.integers(9, 14),
    )
    def check(context, begin, size, stride):
        begin = min(begin, len(context) - 1)
        end = min(len(context), begin + size)
        windows = windows_of(tokenizer, ["a"], [context], 40, stride_tokens=stride)
        positions = answer_positions(windows, np.array([begin]), np.array([end]))
        if positions.is_aligned[0] and positions.ends.any():
            found = best_answers(windows, *perfect_logits(windows, positions), settings())
            assert found.texts([context]) == [context[begin:end]]

    check()


@pytest.fixture(scope="module")
def real_questions(real_data):
    """(question, context, first gold answer) of every question of the real development set."""
    with gzip.open(real_data / "squad/dev-v1.1.json.gz") as stream:
        articles = json.load(stream)["data"]
    return [
        (one["question"], paragraph["context"], one["answers"][0])
        for article in articles
        for paragraph in article["paragraphs"]
        for one in paragraph["qas"]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(SIZES))
def test_real_answers_come_back_from_perfect_logits(kind, real_questions):
    questions, contexts, answers = zip(*real_questions, strict=True)
    texts = [answer["text"] for answer in answers]
    begins = np.array([answer["answer_start"] for answer in answers])
    ends = begins + [len(text) for text in texts]
    tokenizer = train_tokenizer(kind, texts=list(dict.fromkeys(contexts))[::4], vocab_size=6000)
    limits = {"stride_tokens": 128, "max_question_tokens": 64, "max_answer_tokens": 30}
    windows = windows_of(tokenizer, questions, contexts, 384, **limits)
    positions = answer_positions(windows, begins, ends)
    first, last = windows.tokens.spans(windows.context, begins, ends)
    is_findable = positions.is_aligned & (last - first < limits["max_answer_tokens"])
    logits = perfect_logits(windows, positions)
    found = best_answers(windows, *logits, settings(**limits, num_best=1)).texts(contexts)
    wrong = [n for n in np.flatnonzero(is_findable) if found[n] != texts[n]]
    assert wrong == []
    assert positions.is_aligned.mean() > LEAST_ALIGNED[kind]
