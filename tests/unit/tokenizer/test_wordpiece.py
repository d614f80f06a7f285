from tokenizers import Tokenizer

from stages.core.word_borders import is_unused
from stages.tokenizer.wordpiece import (
    SPECIAL_TOKENS,
    build_tokenizer,
    entries_in_order,
    pad_vocabulary,
)

ENTRIES = [*SPECIAL_TOKENS.values(), "play", "##ing", ".", "cafe", "Play"]


def test_a_pair_gets_special_tokens_and_token_types() -> None:
    encoding = build_tokenizer(ENTRIES, lowercase=True).encode("Playing.", "Café")
    assert encoding.tokens == ["[CLS]", "play", "##ing", ".", "[SEP]", "cafe", "[SEP]"]
    assert encoding.type_ids == [0, 0, 0, 0, 0, 1, 1]
    assert encoding.ids == [2, 5, 6, 7, 3, 8, 3]


def test_a_cased_tokenizer_keeps_case_and_accents() -> None:
    tokenizer: Tokenizer = build_tokenizer(ENTRIES, lowercase=False)
    assert tokenizer.encode("Play café").tokens == ["[CLS]", "Play", "[UNK]", "[SEP]"]


def test_the_mask_in_a_text_is_one_token() -> None:
    assert build_tokenizer(ENTRIES, lowercase=True).token_to_id("[MASK]") == 4
    assert build_tokenizer(ENTRIES, lowercase=True).encode("play [MASK].").ids == [2, 5, 4, 7, 3]


def test_entries_keep_their_ids() -> None:
    assert entries_in_order(build_tokenizer(ENTRIES, lowercase=True)) == ENTRIES


def test_padding_fills_up_to_the_multiple_and_no_further() -> None:
    padded = pad_vocabulary(ENTRIES, 8)
    assert padded == [*ENTRIES, *(f"[unused{n}]" for n in range(6))]
    assert pad_vocabulary(padded, 8) == padded
    assert sum(map(is_unused, padded)) == 6
