"""Where words begin, for each kind of vocabulary, by hand."""

import pytest

from stages.core.word_borders import find_word_starts, is_unused

BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROBERTA = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}


@pytest.mark.parametrize(
    ("kind", "special", "beginning", "continuing"),
    [
        ("wordpiece", BERT, ["[UNK]", "[MASK]", "the", "#", ".", "[unused0]"], ["##er", "##."]),
        ("bpe", ROBERTA, ["<s>", "<mask>", "Ġthe", "Ġ", "Ġ.", "[unused3]"], ["er", ".", "<unk>"]),
        ("unigram", BERT, ["[CLS]", "▁the", "▁", "[unused0]"], ["er", ".", "[UNK]"]),
    ],
)
def test_each_kind_marks_the_beginning_of_words_its_way(kind, special, beginning, continuing):
    starts = find_word_starts([*beginning, *continuing], kind, special)
    assert starts.tolist() == [True] * len(beginning) + [False] * len(continuing)


def test_only_whole_unused_entries_are_unused():
    assert is_unused("[unused12]")
    assert not is_unused("[unused")
    assert not is_unused("unused")
