"""Where sentences may be cut without a change of ids, and the cutting: many sentences at once.

In: sentences, none of them with a line end. Out: the pieces of all in one array of strings, `END`
behind each sentence's, since an object for each piece or sentence would cost more than the cutting.
"""

import json
import string
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

END = "\n"  # stands behind the pieces of each sentence
AT_START = "\n"  # marks a piece that begins a sentence

Cut = Callable[[Sequence[str]], pa.LargeStringArray]

_STANDS_ALONE = np.zeros(256, dtype=bool)
_STANDS_ALONE[list(f"{string.punctuation}{END}".encode())] = True


def find_cut(tokenizer: Tokenizer) -> Cut:
    """How sentences may be cut without a change of ids; where nothing is sure, not at all."""
    described = json.loads(tokenizer.to_str())
    before = described["pre_tokenizer"] or {}
    normalizer = (described["normalizer"] or {}).get("type")
    has_words = any(not token["special"] for token in described["added_tokens"])
    if has_words or not tokenizer.encode_special_tokens:
        return not_cut
    if before.get("type") == "BertPreTokenizer" and normalizer in (None, "BertNormalizer"):
        return cut_at_words
    if before.get("type") == "ByteLevel" and before.get("use_regex"):
        return cut_before_spaces if normalizer in (None, "Lowercase") else not_cut
    return not_cut


def cut_at_words(sentences: Sequence[str]) -> pa.LargeStringArray:
    """For BERT's pre-tokenizer, which drops spaces and sets ASCII punctuation apart.

    Its normaliser looks no further than either. Bytes of UTF-8 are cut: an ASCII one is always a
    whole character.
    """
    text = np.frombuffer("".join(f"{sentence}{END}" for sentence in sentences).encode(), np.uint8)
    is_inside = text != ord(" ")
    stands_alone = _STANDS_ALONE[text]
    begins = stands_alone.copy()
    begins[1:] |= stands_alone[:-1] | ~is_inside[:-1]
    begins[:1] = True
    letters = text[is_inside]
    borders = np.append(np.flatnonzero(begins[is_inside]), len(letters))
    buffers = (pa.py_buffer(borders), pa.py_buffer(letters))
    return pa.LargeStringArray.from_buffers(len(borders) - 1, *buffers)


def cut_before_spaces(sentences: Sequence[str]) -> pa.LargeStringArray:
    """For byte-level BPE, which gives a single space to the word behind it.

    Runs of white space are shared out by a look ahead: such a sentence is left whole.
    """
    pieces: list[str] = []
    for sentence in sentences:
        words = sentence.split()
        first, *others = words if " ".join(words) == sentence else [sentence]
        pieces += (AT_START + first, *others, END)
    return pa.array(pieces, pa.large_string())


def not_cut(sentences: Sequence[str]) -> pa.LargeStringArray:
    """For tokenizers that may join what a space separates."""
    return pa.array([piece for one in sentences for piece in (one, END)], pa.large_string())
