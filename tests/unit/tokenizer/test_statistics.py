import pytest

from stages.core.errors import ArtifactError
from stages.core.word_borders import find_word_starts
from stages.tokenizer.statistics import describe_text, describe_vocabulary
from stages.tokenizer.wordpiece import SPECIAL_TOKENS, build_tokenizer

ENTRIES = [*SPECIAL_TOKENS.values(), "play", "##ing", ".", "[", "]", "mask"]
STARTS = find_word_starts(ENTRIES, "wordpiece", SPECIAL_TOKENS)


def test_the_measures_are_those_counted_by_hand() -> None:
    tokenizer = build_tokenizer(ENTRIES, lowercase=True)
    # 3 words between spaces; tokens: play ##ing . | play | [UNK]
    measured = describe_text(tokenizer, ["Playing.\nplay", "xyz"], unk_id=1, starts=STARTS)
    assert measured["fertility"] == 5 / 3
    assert measured["unknown_share"] == 1 / 5
    assert measured["coverage"] == 2 / 4  # "." and "play" of playing . play xyz
    assert measured["tokens_per_byte"] == 5 / 15


def test_a_special_token_written_in_a_text_is_text() -> None:
    tokenizer = build_tokenizer(ENTRIES, lowercase=True)
    assert describe_text(tokenizer, ["[MASK]"], unk_id=1, starts=STARTS)["tokens"] == 3


def test_no_text_is_refused() -> None:
    tokenizer = build_tokenizer(ENTRIES, lowercase=True)
    with pytest.raises(ArtifactError, match="validation holds no text"):
        describe_text(tokenizer, [" ", ""], unk_id=1, starts=STARTS)


def test_the_vocabulary_is_described_without_specials() -> None:
    entries = ["[PAD]", "a", "##a", "##ing", "."]
    starts = find_word_starts(entries, "wordpiece", SPECIAL_TOKENS)
    assert describe_vocabulary(entries, starts, ["[PAD]"]) == {
        "continuing_entries": 2,
        "characters": 2,
        "longest_entry_characters": 3,
    }
