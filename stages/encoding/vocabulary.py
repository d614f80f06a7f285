"""Facts of a vocabulary by token id: what begins a word, and what a random replacement may be."""

from collections.abc import Collection, Mapping

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray
from tokenizers import Tokenizer

_CONTINUING = "##"


def entries_by_id(tokenizer: Tokenizer) -> list[str]:
    """All entries, added ones too, by id."""
    vocabulary: Mapping[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    return sorted(vocabulary, key=vocabulary.__getitem__)


def find_word_starts(entries: Collection[str]) -> Bool[ndarray, "V"]:
    """Whether each id begins a word: WordPiece marks what continues one with `##`."""
    return np.array([not entry.startswith(_CONTINUING) for entry in entries], dtype=bool)


def find_replacements(
    entries: Collection[str], special_token_ids: Collection[int]
) -> Int64[ndarray, "N"]:
    """The ids that a random replacement may draw: no special token, no [unusedN]."""
    ids = [
        index
        for index, entry in enumerate(entries)
        if index not in special_token_ids and not entry.startswith("[unused")
    ]
    return np.array(ids, dtype=np.int64)
