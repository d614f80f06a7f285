"""Windows: every token of a context in its place, and answers at the right positions."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import SettingsError
from stages.finetuning.windows import answer_positions
from tests.unit.finetuning.extraction_builders import SIZES, train_tokenizer, windows_of

LETTERS = "a b c d e f g h i j k l m n o p q r s t"


@pytest.fixture(scope="module")
def letters():
    """A tokenizer to which each letter is a word of its own."""
    return train_tokenizer("wordpiece")


def decoded(windows, tokenizer):
    """The words of every window."""
    borders = windows.features.offsets
    entry = tokenizer.tokenizer.id_to_token
    return [
        " ".join(entry(token) for token in windows.features.ids[begin:end].tolist())
        for begin, end in pairwise(borders)
    ]


def test_a_context_that_fits_is_one_window_with_the_ids_and_types_of_the_tokenizers_pair(
    any_tokenizer,
):
    questions, contexts = ["who?", "a 1"], ["the old café", "日本 b"]
    windows = windows_of(any_tokenizer, questions, contexts, max_seq_length=60)
    assert windows.question.tolist() == [0, 1]
    features = windows.features
    for number, pair in enumerate(zip(questions, contexts, strict=True)):
        encoding = any_tokenizer.tokenizer.encode(*pair)
        mine = slice(features.offsets[number], features.offsets[number + 1])
        assert features.ids[mine].tolist() == encoding.ids
        wanted = encoding.type_ids if any_tokenizer.has_token_types else [0] * len(encoding.ids)
        assert features.types[mine].tolist() == wanted


def test_a_long_context_is_cut_into_overlapping_windows(letters):
    # 12 - 3 special tokens - 2 of the question leave 7; windows begin 4 apart.
    windows = windows_of(letters, ["x y"], ["a b c d e f g h i j k"], 12, stride_tokens=4)
    assert decoded(windows, letters) == [
        "[CLS] x y [SEP] a b c d e f g [SEP]",
        "[CLS] x y [SEP] e f g h i j k [SEP]",
    ]
    windows = windows_of(letters, ["x y"], ["a b c d e f g h i j k l"], 12, stride_tokens=4)
    assert decoded(windows, letters)[2] == "[CLS] x y [SEP] i j k l [SEP]"
    assert windows.question.tolist() == [0, 0, 0]


def test_a_stride_beyond_the_room_leaves_nothing_out(letters):
    windows = windows_of(letters, ["x"], [LETTERS], 9, max_question_tokens=2, stride_tokens=64)
    assert windows.num_tokens.tolist() == [5, 5, 5, 5]
    assert windows.first_token.tolist() == [0, 5, 10, 15]


def test_a_long_question_is_cut_and_counted(letters):
    windows = windows_of(letters, [LETTERS, "x"], ["y z", "y z"], max_question_tokens=3)
    assert decoded(windows, letters) == [
        "[CLS] a b c [SEP] y z [SEP]",
        "[CLS] x [SEP] y z [SEP]",
    ]
    assert windows.features.num_truncated == 1


def test_a_context_of_several_questions_is_tokenised_once(letters):
    windows = windows_of(letters, ["x", "y", "z"], ["a b", "c", "a b"])
    assert windows.context.tolist() == [0, 1, 0]
    assert windows.tokens.texts.lengths.tolist() == [2, 1]
    assert windows.first_token.tolist() == [0, 2, 0]


def test_a_context_without_tokens_has_a_window_all_the_same(letters):
    windows = windows_of(letters, ["x", "y"], [" ", "a"])
    assert decoded(windows, letters) == ["[CLS] x [SEP] [SEP]", "[CLS] y [SEP] a [SEP]"]
    assert windows.num_tokens.tolist() == [0, 1]


def test_settings_that_leave_no_room_are_refused(letters):
    with pytest.raises(
        SettingsError, match=r"max_seq_length is 9 and extraction.max_question_tokens 6: with 3 sp"
    ):
        windows_of(letters, ["x"], ["a"], 9)
    assert len(windows_of(letters, ["x"], ["a"], 10).question) == 1


def test_a_token_has_its_maximum_context_in_one_window(letters):
    # Windows a-g and e-k: of e f g, each has 2, 1, 0 tokens to the right and then 0, 1, 2 to the
    # left; f is equally far from both edges, and the first window has it.
    windows = windows_of(letters, ["x y"], ["a b c d e f g h i j k"], 12, stride_tokens=4)
    chosen = windows.has_maximum_context()
    assert chosen.tolist() == [True] * 6 + [False] + [False, False] + [True] * 5


def test_of_windows_with_like_context_the_longer_one_counts(letters):
    # Windows a-g, e-k and i-l. j has one token at its side in the second as in the third.
    windows = windows_of(letters, ["x y"], ["a b c d e f g h i j k l"], 12, stride_tokens=4)
    chosen = windows.has_maximum_context()
    assert chosen[7:14].tolist() == [False, False, True, True, True, True, False]
    assert chosen[14:].tolist() == [False, False, True, True]


def test_an_answer_is_found_in_the_windows_that_hold_all_of_it(letters):
    context = "a b c d e f g h i j k"
    windows = windows_of(letters, ["x y"] * 4, [context] * 4, 12, stride_tokens=4)
    spans = [context.index(text) for text in ("e f g", "a", "d e f g h", "k")]
    sizes = [5, 1, 9, 1]
    starts = np.array(spans)
    positions = answer_positions(windows, starts, starts + sizes)
    # The context begins at position 4.
    assert positions.starts.tolist() == [8, 4, 4, 0, 0, 0, 0, 10]
    assert positions.ends.tolist() == [10, 6, 4, 0, 0, 0, 0, 10]
    assert positions.is_aligned.all()


def test_an_answer_within_a_token_is_flagged(letters):
    windows = windows_of(letters, ["x"], ["a bc"])
    size = windows.num_tokens[0]
    positions = answer_positions(windows, np.array([0]), np.array([3]))
    assert positions.is_aligned.tolist() == [size == 3]  # a b ##c, or a [UNK]
    assert positions.starts.tolist() == [3]


def test_an_answer_that_no_token_stands_for_is_flagged_and_in_no_window(letters):
    windows = windows_of(letters, ["x", "y"], ["a \u0001 b", "c"])
    positions = answer_positions(windows, np.array([2, 0]), np.array([3, 1]))
    assert positions.is_aligned.tolist() == [False, True]
    assert positions.starts.tolist() == [0, 3]
    assert positions.ends.tolist() == [0, 3]


@pytest.mark.parametrize("kind", list(SIZES))
def test_every_token_is_in_a_window_and_has_its_maximum_context_in_exactly_one(kind):
    tokenizer = train_tokenizer(kind)

    @given(
        st.lists(
            st.tuples(st.text("ab c日", max_size=12), st.text("ab z1é日ก ", max_size=60)),
            min_size=1,
            max_size=4,
        ),
        st.integers(1, 20),
        st.integers(14, 40),
    )
    def check(pairs, stride, max_seq_length):
        questions, contexts = zip(*pairs, strict=True)
        windows = windows_of(tokenizer, questions, contexts, max_seq_length, stride_tokens=stride)
        assert windows.features.lengths.max() <= max_seq_length
        assert (
            windows.features.ids[windows.rows] == windows.tokens.texts.ids[windows.row_tokens]
        ).all()
        owner = np.repeat(windows.question, windows.num_tokens)
        chosen = windows.has_maximum_context()
        for number in range(len(questions)):
            begin, end = windows.tokens.texts.offsets[windows.context[number] :][:2]
            wanted = list(range(begin, end))
            assert sorted(set(windows.row_tokens[owner == number].tolist())) == wanted
            assert sorted(windows.row_tokens[(owner == number) & chosen].tolist()) == wanted

    check()
