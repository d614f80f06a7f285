"""A tokenizer that remembers words: the same ids, many times faster, since words repeat.

A sentence is cut where the tokenizer itself never joins (`find_cut`), each piece is encoded once by
the tokenizer and looked up from then on. Ids of a batch are then one gather. What a tokenizer does
not cut at spaces (Unigram) is given to it sentence by sentence.
"""

import json
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, Integer
from numpy import ndarray
from tokenizers import Tokenizer

from stages.encoding.wordpiece import plain_wordpiece

_LONGEST_REMEMBERED = 48  # characters; longer pieces hardly ever come again
_MOST_TOKENS = 8_000_000  # ids in memory; beyond, all is forgotten
_MOST_PIECES = 1_000_000
_AT_START = "\n"  # marks a piece that begins a sentence; no piece holds a line end

Cut = Callable[[str], list[str]]


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
        self._plain = plain_wordpiece(tokenizer) if self._cut is cut_at_spaces else None
        self._forget()

    def encode(self, sentences: Sequence[str]) -> Encoded:
        """The ids that the tokenizer gives each sentence by itself.

        A sentence holds no line end and no white space at its ends.
        """
        if not sentences:
            nothing = np.zeros(0, dtype=np.int64)
            return Encoded(np.zeros(0, dtype=self._dtype), nothing, nothing)
        if self._num_tokens > _MOST_TOKENS or len(self._numbers) > _MOST_PIECES:
            self._forget()
        cut = [self._cut(sentence) for sentence in sentences]
        pieces = list(chain.from_iterable(cut))
        number = self._look_up(pieces)
        count = self._counts[number]
        ends = np.cumsum(count)
        place = np.repeat(self._starts[number] - ends + count, count) + np.arange(ends[-1])
        first = np.cumsum([0, *map(len, cut[:-1])])
        return Encoded(
            tokens=self._tokens[place],
            lengths=np.add.reduceat(count, first),
            words=np.add.reduceat(self._words[number], first),
        )

    def _forget(self) -> None:
        self._numbers: dict[str, int] = {}
        self._num_pieces = self._num_tokens = 0
        self._tokens = np.zeros(1 << 16, dtype=self._dtype)
        self._starts, self._counts, self._words = (np.zeros(1 << 14, np.int64) for _ in range(3))

    def _look_up(self, pieces: list[str]) -> Int64[ndarray, "num_pieces"]:
        """The number of each piece; those not known are encoded and, if short, remembered."""
        number = np.fromiter(map(self._numbers.get, pieces, repeat(-1)), np.int64, len(pieces))
        unknown = np.flatnonzero(number < 0)
        if len(unknown):
            fresh: dict[str, int] = dict.fromkeys((pieces[n] for n in unknown.tolist()), 0)
            self._learn(fresh)
            number[unknown] = [fresh[pieces[place]] for place in unknown.tolist()]
        return number

    def _learn(self, fresh: dict[str, int]) -> None:
        """Encode these pieces and write the number of each into `fresh`."""
        ids = self._encode([self._text(piece) for piece in fresh])
        count = np.fromiter(map(len, ids), np.int64, len(ids))
        first, stop = self._num_pieces, self._num_pieces + len(ids)
        end = self._num_tokens + int(count.sum())
        self._tokens = _with_room(self._tokens, end)
        self._starts, self._counts, self._words = (
            _with_room(column, stop) for column in (self._starts, self._counts, self._words)
        )
        self._tokens[self._num_tokens : end] = np.fromiter(chain.from_iterable(ids), self._dtype)
        self._starts[first:stop] = self._num_tokens + np.cumsum(count) - count
        self._counts[first:stop] = count
        self._words[first:stop] = [len(piece.split()) for piece in fresh]
        self._num_pieces, self._num_tokens = stop, end
        for number, piece in enumerate(fresh, first):
            fresh[piece] = number
            if len(piece) <= _LONGEST_REMEMBERED:
                self._numbers[piece] = number

    def _encode(self, texts: list[str]) -> list[list[int]]:
        """The ids of each text, by the shortcut where it can."""
        plain = self._plain
        ids: list[list[int] | None] = [plain.encode(text) if plain else None for text in texts]
        left = [number for number, found in enumerate(ids) if found is None]
        encodings = self._tokenizer.encode_batch_fast(
            [texts[number] for number in left], add_special_tokens=False
        )
        for number, encoding in zip(left, encodings, strict=True):
            ids[number] = encoding.ids
        return [found for found in ids if found is not None]

    def _text(self, piece: str) -> str:
        """The text that a piece stands for."""
        if self._cut is not cut_before_spaces:
            return piece
        return piece[1:] if piece.startswith(_AT_START) else f" {piece}"


def find_cut(tokenizer: Tokenizer) -> Cut:
    """How sentences may be cut without a change of ids; where nothing is sure, not at all."""
    described = json.loads(tokenizer.to_str())
    before = described["pre_tokenizer"] or {}
    normalizer = (described["normalizer"] or {}).get("type")
    has_words = any(not token["special"] for token in described["added_tokens"])
    if has_words or not tokenizer.encode_special_tokens:
        return not_cut
    if before.get("type") == "BertPreTokenizer" and normalizer in (None, "BertNormalizer"):
        return cut_at_spaces
    if before.get("type") == "ByteLevel" and before.get("use_regex"):
        return cut_before_spaces if normalizer in (None, "Lowercase") else not_cut
    return not_cut


def cut_at_spaces(sentence: str) -> list[str]:
    """For BERT's pre-tokenizer, which drops spaces; its normaliser looks no further than one."""
    return sentence.split(" ")


def cut_before_spaces(sentence: str) -> list[str]:
    """For byte-level BPE, which gives a single space to the word behind it.

    Runs of white space are shared out by a look ahead: such a sentence is left whole.
    """
    words = sentence.split()
    if " ".join(words) != sentence:
        return [_AT_START + sentence]
    words[0] = _AT_START + words[0]
    return words


def not_cut(sentence: str) -> list[str]:
    """For tokenizers that may join what a space separates."""
    return [sentence]


def _with_room(values: Integer[ndarray, "n"], size: int) -> Integer[ndarray, "m"]:
    """The values in an array of at least `size`, doubled so that copying stays linear."""
    if size <= len(values):
        return values
    grown = np.zeros(max(size, 2 * len(values)), dtype=values.dtype)
    grown[: len(values)] = values
    return grown
