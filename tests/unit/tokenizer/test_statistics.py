import pytest

from stages.core.errors import ArtifactError
from stages.tokenizer.statistics import describe_text, describe_vocabulary
from stages.tokenizer.wordpiece import SPECIAL_TOKENS, build_tokenizer

ENTRIES = [*SPECIAL_TOKENS.values(), "play", "##ing", ".", "[", "]", "mask"]


def test_the_measures_are_those_counted_by_hand() -> None:
    tokenizer = build_tokenizer(ENTRIES, lowercase=True)
    # 3 words between spaces; tokens: play ##ing . | play | [UNK]
    measured = describe_text(tokenizer, ["Playing.\nplay", "xyz"], unk_id=1)
    assert measured["fertility"] == 5 / 3
    assert measured["unknown_share"] == 1 / 5
    assert measured["coverage"] == 2 / 4  # "." and "play" of playing . play xyz
    assert measured["tokens_per_byte"] == 5 / 15


def test_a_special_token_written_in_a_text_is_text() -> None:
    tokenizer = build_tokenizer(ENTRIES, lowercase=True)
    assert describe_text(tokenizer, ["[MASK]"], unk_id=1)["tokens"] == 3


def test_no_text_is_refused() -> None:
    tokenizer = build_tokenizer(ENTRIES, lowercase=True)
    with pytest.raises(ArtifactError, match="validation holds no text"):
        describe_text(tokenizer, [" ", ""], unk_id=1)


def test_the_vocabulary_is_described_without_specials() -> None:
    assert describe_vocabulary(["[PAD]", "a", "##a", "##ing", "."]) == {
        "continuing_entries": 2,
        "characters": 2,
        "longest_entry_characters": 3,
    }
