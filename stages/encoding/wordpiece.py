"""The ids of many plain words at once, for WordPiece with BERT's rules around it.

A call of the tokenizer costs as much as dozens of words in it, so words go into one text. Where
each begins among the ids is seen from them: WordPiece marks what goes on a word.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from numpy import ndarray
from tokenizers import Tokenizer

from stages.core.word_borders import CONTINUING_PREFIX, find_word_starts
from stages.encoding.pieces import Ids
from stages.encoding.vocabulary import entries_by_id

_PLAIN = re.compile(r"[0-9A-Za-z]+|[!-~]")


@dataclass(frozen=True)
class PlainWords:
    """Encodes words of ASCII letters and digits, and punctuation, as words of one text."""

    tokenizer: Tokenizer
    is_start: Bool[ndarray, "V"]
    """Whether an id begins a word."""

    def encode(self, words: Sequence[str]) -> Ids:
        """The tokenizer's ids of each word by itself."""
        (encoding,) = self.tokenizer.encode_batch_fast([" ".join(words)], add_special_tokens=False)
        ids = np.array(encoding.ids, dtype=np.int64)
        starts = np.flatnonzero(self.is_start[ids])
        assert len(starts) == len(words), (len(starts), len(words))
        return Ids(ids, np.diff(starts, append=len(ids)))


def is_plain(piece: str) -> bool:
    """Whether a piece is a word that the normaliser at most changes the case of."""
    return _PLAIN.fullmatch(piece) is not None


def plain_words(tokenizer: Tokenizer) -> PlainWords | None:
    """The shortcut for a tokenizer with BERT's rules around it; None where it is no WordPiece."""
    model = json.loads(tokenizer.to_str())["model"]
    if model["type"] != "WordPiece" or model["continuing_subword_prefix"] != CONTINUING_PREFIX:
        return None
    return PlainWords(tokenizer, find_word_starts(entries_by_id(tokenizer), "wordpiece", {}))
