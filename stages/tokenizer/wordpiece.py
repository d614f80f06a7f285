"""BERT's WordPiece tokenizer as an object of the `tokenizers` library, made from its entries alone.

Normaliser, word borders and `[CLS] A [SEP] B [SEP]` are those of google-research/bert's
tokenization.py: control characters dropped, Chinese characters set apart, lower case and stripped
accents together or not at all, punctuation split off.
"""

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from stages.core.word_borders import CONTINUING_PREFIX

SPECIAL_TOKENS = {
    "pad": "[PAD]",
    "unk": "[UNK]",
    "cls": "[CLS]",
    "sep": "[SEP]",
    "mask": "[MASK]",
}


def bare_tokenizer(model: WordPiece, *, lowercase: bool) -> Tokenizer:
    """A tokenizer with BERT's normaliser and word borders, without special tokens."""
    tokenizer = Tokenizer(model)
    # strip_accents=None follows `lowercase`, as in the original.
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lowercase
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def build_tokenizer(entries: Sequence[str], *, lowercase: bool) -> Tokenizer:
    """The whole tokenizer; an entry's id is its place in `entries`, which holds the specials."""
    ids = {entry: index for index, entry in enumerate(entries)}
    model = WordPiece(ids, unk_token=SPECIAL_TOKENS["unk"], max_input_chars_per_word=100)
    tokenizer = bare_tokenizer(model, lowercase=lowercase)
    tokenizer.decoder = decoders.WordPiece(prefix=CONTINUING_PREFIX)
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS.values()]
    )
    cls, sep = SPECIAL_TOKENS["cls"], SPECIAL_TOKENS["sep"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, ids[cls]), (sep, ids[sep])],
    )
    return tokenizer


def pad_vocabulary(entries: Sequence[str], multiple: int) -> list[str]:
    """Fill the vocabulary up to a multiple of `multiple` with [unused0], [unused1] and so on."""
    missing = -len(entries) % multiple
    return [*entries, *(f"[unused{index}]" for index in range(missing))]


def entries_in_order(tokenizer: Tokenizer) -> list[str]:
    """All entries, added ones too, by id."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    return sorted(vocabulary, key=vocabulary.__getitem__)


def normalizer_facts(tokenizer: Tokenizer) -> dict[str, Any]:
    """Settings of BERT's normaliser: type, lowercase, strip_accents, handle_chinese_chars."""
    facts: dict[str, Any] = json.loads(tokenizer.to_str())["normalizer"] or {"type": None}
    return facts


def lowers_case(tokenizer: Tokenizer) -> bool:
    """Whether the normaliser, of any kind, lower-cases text."""
    if tokenizer.normalizer is None:
        return False
    return bool(tokenizer.normalizer.normalize_str("A").strip() == "a")
