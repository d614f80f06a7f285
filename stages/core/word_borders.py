"""Where words begin, read off the entries of a vocabulary: each kind of tokenizer marks it its way.

WordPiece marks what continues a word with `##`; byte-level BPE and Unigram mark what begins one
with the space before it, `Ġ` and `▁`, so that punctuation glued to a word continues it.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

CONTINUING_PREFIX = "##"
SPACE_MARKS = {"bpe": "\u0120", "unigram": "\u2581"}
_UNUSED = "[unused"


def is_unused(entry: str) -> bool:
    """Whether an entry only fills the vocabulary."""
    return entry.startswith(_UNUSED) and entry.endswith("]")


def find_word_starts(
    entries: Sequence[str], kind: str, special_tokens: Mapping[str, str]
) -> Bool[ndarray, "V"]:
    """Whether each entry begins a word; special and unused entries count as beginning one.

    Unigram's unknown token stands for single characters, so it continues the word that it is in.
    """
    if kind not in SPACE_MARKS:
        return np.array([not entry.startswith(CONTINUING_PREFIX) for entry in entries], dtype=bool)
    whole: Collection[str] = set(special_tokens.values()) - {special_tokens["unk"]}
    mark = SPACE_MARKS[kind]
    starts = [e.startswith(mark) or e in whole or is_unused(e) for e in entries]
    return np.array(starts, dtype=bool)
