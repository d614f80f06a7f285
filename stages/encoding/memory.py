"""A tokenizer that remembers: the same ids, many times faster, since words repeat.

A sentence is cut where the tokenizer itself never joins (`find_cut`), and each piece is encoded
once: all new plain words in one call, all else one by one. What a tokenizer does not cut at spaces
(Unigram) is given to it sentence by sentence.
"""

from collections.abc import Sequence
from itertools import chain, compress
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Integer
from numpy import ndarray
from tokenizers import Tokenizer

from stages.encoding.cuts import AT_START, cut_at_words, cut_before_spaces, find_cut
from stages.encoding.pieces import Ids, PieceMemory
from stages.encoding.wordpiece import is_plain, plain_words


class Encoded(NamedTuple):
    """The ids of some sentences, one after the other."""

    tokens: Integer[ndarray, "T"]
    lengths: Int64[ndarray, "num_sentences"]
    words: Int64[ndarray, "num_sentences"]
    """Words between white space in each sentence."""


class WordMemory:
    """Encodes sentences with a tokenizer, each piece of text once."""

    def __init__(self, tokenizer: Tokenizer, dtype: np.dtype[Any]) -> None:
        self._tokenizer, self._dtype = tokenizer, dtype
        self._cut = find_cut(tokenizer)
        self._plain = plain_words(tokenizer) if self._cut is cut_at_words else None
        self._pieces = PieceMemory(self._cut, self._learn, dtype)

    def encode(self, sentences: Sequence[str]) -> Encoded:
        """The ids that the tokenizer gives each sentence by itself.

        A sentence holds no line end and no white space at its ends.
        """
        ids = self._pieces.encode(sentences)
        words = np.fromiter((len(sentence.split()) for sentence in sentences), np.int64)
        return Encoded(ids.tokens, ids.lengths, words)

    def _learn(self, pieces: list[str]) -> Ids:
        """The tokenizer's ids of each piece by itself."""
        if self._plain is None:
            return self._ask(pieces)
        plain = np.fromiter(map(is_plain, pieces), bool, len(pieces))
        words = self._plain.encode(list(compress(pieces, plain)))
        return _merged(plain, words, self._ask(list(compress(pieces, ~plain))))

    def _ask(self, pieces: list[str]) -> Ids:
        """Ask the tokenizer for each piece."""
        texts = [self._text(piece) for piece in pieces]
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ids = [encoding.ids for encoding in encodings]
        return Ids(
            tokens=np.fromiter(chain.from_iterable(ids), self._dtype),
            lengths=np.fromiter(map(len, ids), np.int64, len(ids)),
        )

    def _text(self, piece: str) -> str:
        """The text that a piece stands for."""
        if self._cut is not cut_before_spaces:
            return piece
        return piece[1:] if piece.startswith(AT_START) else f" {piece}"


def _merged(is_first: Bool[ndarray, "num_texts"], first: Ids, second: Ids) -> Ids:
    """The ids of texts in their order, the marked ones from the first, all else from the second."""
    lengths = np.empty(len(is_first), dtype=np.int64)
    lengths[is_first], lengths[~is_first] = first.lengths, second.lengths
    owner = np.repeat(is_first, lengths)
    tokens = np.empty(len(owner), dtype=first.tokens.dtype)
    tokens[owner], tokens[~owner] = first.tokens, second.tokens
    return Ids(tokens, lengths)
