from stages.encoding.vocabulary import entries_by_id, find_replacements
from stages.tokenizer.wordpiece import SPECIAL_TOKENS, build_tokenizer

ENTRIES = [*SPECIAL_TOKENS.values(), "the", "##er", "#", "[", "[unused0]", "[unused1]"]


def test_entries_are_in_the_order_of_their_ids() -> None:
    assert entries_by_id(build_tokenizer(ENTRIES, lowercase=True)) == ENTRIES


def test_replacements_are_neither_special_nor_unused() -> None:
    ids = find_replacements(ENTRIES, [0, 1, 2, 3, 4])
    assert [ENTRIES[index] for index in ids] == ["the", "##er", "#", "["]
    assert ids.dtype == "int64"
