"""Ids of sentences, put together from those of pieces: each is learnt once and then looked up.

In: how sentences are cut, and who knows the ids of pieces that are new. Out: the ids of sentences,
one after the other: one look-up for each different piece of a batch, and one gather for all. Memory
is bounded by forgetting.
"""

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, Integer
from numpy import ndarray

from stages.encoding.cuts import END, Cut

_LONGEST_REMEMBERED = 48  # characters; longer pieces hardly ever come again
_MOST_TOKENS = 8_000_000  # ids in memory; beyond, all is forgotten
_MOST_PIECES = 1_000_000


class Ids(NamedTuple):
    """The ids of some texts, one after the other."""

    tokens: Integer[ndarray, "T"]
    lengths: Int64[ndarray, "num_texts"]


class PieceMemory:
    """Encodes sentences piece by piece, each piece learnt once."""

    def __init__(self, cut: Cut, learn: Callable[[list[str]], Ids], dtype: np.dtype[Any]) -> None:
        self._cut, self._learn, self._dtype = cut, learn, dtype
        self._forget()

    def encode(self, sentences: Sequence[str]) -> Ids:
        """The ids of each sentence: those of its pieces, as `learn` gives them."""
        if self._num_tokens > _MOST_TOKENS or len(self._numbers) > _MOST_PIECES:
            self._forget()
        if not sentences:
            return Ids(np.zeros(0, dtype=self._dtype), np.zeros(0, dtype=np.int64))
        pieces = self._cut(sentences).dictionary_encode()
        different = self._look_up(pieces.dictionary.to_pylist())
        number = different[pieces.indices.to_numpy()]
        count = self._counts[number]
        ends = np.cumsum(count)
        place = np.repeat(self._starts[number] - ends + count, count) + np.arange(ends[-1])
        lasts = np.flatnonzero(number == self._numbers[END])
        return Ids(self._tokens[place], np.diff(ends[lasts], prepend=0))

    def _forget(self) -> None:
        self._numbers: dict[str, int] = {}
        self._num_tokens = self._num_pieces = 0
        self._tokens = np.zeros(1 << 16, dtype=self._dtype)
        self._starts, self._counts = (np.zeros(1 << 14, dtype=np.int64) for _ in range(2))
        self._remember([END], Ids(self._tokens[:0], np.zeros(1, dtype=np.int64)))

    def _look_up(self, pieces: list[str]) -> Int64[ndarray, "num_pieces"]:
        """The number of each of these different pieces; those not known are learnt."""
        number = np.fromiter(map(self._numbers.get, pieces, repeat(-1)), np.int64, len(pieces))
        unknown = np.flatnonzero(number < 0)
        if len(unknown):
            fresh = [pieces[place] for place in unknown.tolist()]
            number[unknown] = self._num_pieces + np.arange(len(fresh))
            self._remember(fresh, self._learn(fresh))
        return number

    def _remember(self, fresh: list[str], ids: Ids) -> None:
        """Keep the ids of these pieces by the next numbers; short ones will be known again."""
        first, stop = self._num_pieces, self._num_pieces + len(fresh)
        end = self._num_tokens + len(ids.tokens)
        self._tokens = _with_room(self._tokens, end)
        self._starts, self._counts = (_with_room(c, stop) for c in (self._starts, self._counts))
        self._tokens[self._num_tokens : end] = ids.tokens
        self._starts[first:stop] = self._num_tokens + np.cumsum(ids.lengths) - ids.lengths
        self._counts[first:stop] = ids.lengths
        self._num_pieces, self._num_tokens = stop, end
        self._numbers.update(
            (piece, number)
            for number, piece in enumerate(fresh, first)
            if len(piece) <= _LONGEST_REMEMBERED
        )


def _with_room(values: Integer[ndarray, "n"], size: int) -> Integer[ndarray, "m"]:
    """The values in an array of at least `size`, doubled so that copying stays linear."""
    if size <= len(values):
        return values
    grown = np.zeros(max(size, 2 * len(values)), dtype=values.dtype)
    grown[: len(values)] = values
    return grown
