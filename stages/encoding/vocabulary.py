"""Facts of a vocabulary by token id: its entries, and what a random replacement may be."""

from collections.abc import Collection, Mapping

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from tokenizers import Tokenizer

from stages.core.word_borders import is_unused


def entries_by_id(tokenizer: Tokenizer) -> list[str]:
    """All entries, added ones too, by id."""
    vocabulary: Mapping[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    return sorted(vocabulary, key=vocabulary.__getitem__)


def find_replacements(
    entries: Collection[str], special_token_ids: Collection[int]
) -> Int64[ndarray, "N"]:
    """The ids that a random replacement may draw: no special token, no [unusedN]."""
    ids = [
        index
        for index, entry in enumerate(entries)
        if index not in special_token_ids and not is_unused(entry)
    ]
    return np.array(ids, dtype=np.int64)
