"""Which characters of its context each token stands for, whatever the kind of tokenizer.

In: contexts and a tokenizer. Out: token ids, and for every token the characters `begins..ends` that
it contributes to an answer, so that an answer is always a piece of the context, never decoded ids.
Tokenizers report places in their own ways: some count the space before a word in, some leave out
the accent behind a letter, and the bytes of one character share its place. Here a token has no
space at its ends, takes the combining marks that no token stands for, and of tokens that share a
border only the outermost may be an answer's first or last.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from unicodedata import category

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray
from tokenizers import Encoding, Tokenizer

from stages.core.word_borders import SPACE_MARKS

_TEXTS_AT_ONCE = 1000  # an Encoding takes a hundred times what is kept of it
_CONTEXT_SHIFT = 32  # a key is (context, character): one sorted array for all contexts


@dataclass(frozen=True)
class EncodedTexts:
    """Token ids of texts, ragged: text n is ids[offsets[n]:offsets[n + 1]]."""

    ids: Int64[ndarray, "T"]
    offsets: Int64[ndarray, "N_plus_1"]

    @property
    def lengths(self) -> Int64[ndarray, "N"]:
        """Tokens of each text."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class ContextTokens:
    """The tokens of several contexts, one behind the other."""

    texts: EncodedTexts
    begins: Int64[ndarray, "T"]
    """First character of each token in its context; equals `ends` where it is but a space."""
    ends: Int64[ndarray, "T"]
    """The character behind its last."""

    @cached_property
    def can_begin(self) -> Bool[ndarray, "T"]:
        """Whether an answer may begin with the token: the first of those that begin there."""
        keys = self._keys(self.begins)[self._solid]
        return self._chosen(np.diff(keys, prepend=-1) != 0)

    @cached_property
    def can_end(self) -> Bool[ndarray, "T"]:
        """Whether an answer may end with the token: the last of those that end there."""
        keys = self._keys(self.ends)[self._solid]
        return self._chosen(np.diff(keys, append=-1) != 0)

    def spans(
        self,
        contexts: Int64[ndarray, "N"],
        first_characters: Int64[ndarray, "N"],
        end_characters: Int64[ndarray, "N"],
    ) -> tuple[Int64[ndarray, "N"], Int64[ndarray, "N"]]:
        """The first and the last token that stand for any of these characters of these contexts.

        Tokens that begin or end exactly there go before such as reach further, which byte-level BPE
        has where it joins bytes of two characters. Where none does, the first lies behind the last.
        """
        begin_keys = self._keys(self.begins)[self._solid]
        end_keys = self._keys(self.ends)[self._solid]
        base = contexts << _CONTEXT_SHIFT
        first = np.searchsorted(end_keys, base + first_characters, side="right")
        exact = np.searchsorted(begin_keys, base + first_characters, side="left")
        first = np.where(_at(begin_keys, exact) == base + first_characters, exact, first)
        last = np.searchsorted(begin_keys, base + end_characters, side="left") - 1
        exact = np.searchsorted(end_keys, base + end_characters, side="right") - 1
        last = np.where(_at(end_keys, exact) == base + end_characters, exact, last)
        bounded = np.concatenate([[-1], self._solid, [len(self.begins)]])
        return bounded[first + 1], bounded[last + 1]

    @cached_property
    def _solid(self) -> Int64[ndarray, "_"]:
        """The tokens that stand for characters."""
        return np.flatnonzero(self.begins < self.ends)

    def _keys(self, characters: Int64[ndarray, "T"]) -> Int64[ndarray, "T"]:
        lengths = self.texts.lengths
        return (np.repeat(np.arange(len(lengths)), lengths) << _CONTEXT_SHIFT) + characters

    def _chosen(self, of_solid: Bool[ndarray, "_"]) -> Bool[ndarray, "T"]:
        chosen = np.zeros(len(self.begins), dtype=bool)
        chosen[self._solid] = of_solid
        return chosen


def _at(keys: Int64[ndarray, "_"], place: Int64[ndarray, "N"]) -> Int64[ndarray, "N"]:
    """The keys at these places, -1 where there is no such place."""
    bounded = np.concatenate([[-1], keys, [-1]])
    return bounded[place + 1]


def encode_texts(
    tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int | None = None
) -> tuple[EncodedTexts, int]:
    """Ids without special tokens, cut to `max_tokens`, and how many texts were cut."""
    parts, lengths, num_cut = [], [], 0
    for encoding in _encodings(tokenizer, texts):
        ids = encoding.ids[:max_tokens]
        num_cut += len(ids) < len(encoding.ids)
        parts.append(np.array(ids, dtype=np.int64))
        lengths.append(len(ids))
    return _joined(parts, lengths), num_cut


def encode_contexts(tokenizer: Tokenizer, contexts: Sequence[str]) -> ContextTokens:
    """Ids without special tokens and the characters that each token stands for."""
    marks = {mark: tokenizer.token_to_id(mark) for mark in SPACE_MARKS.values()}
    parts, places, lengths = [], [], []
    for context, encoding in zip(contexts, _encodings(tokenizer, contexts), strict=True):
        ids = np.array(encoding.ids, dtype=np.int64)
        reported = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        bare = [one for mark, one in marks.items() if one is not None and mark not in context]
        parts.append(ids)
        places.append(_characters(context, reported, np.isin(ids, bare)))
        lengths.append(len(ids))
    joined = np.concatenate([np.zeros((0, 2), dtype=np.int64), *places])
    return ContextTokens(_joined(parts, lengths), joined[:, 0], joined[:, 1])


def _encodings(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[Encoding]:
    """Encode whole texts, some at a time, on all cores."""
    whole = deepcopy(tokenizer)
    whole.no_truncation()
    whole.no_padding()
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        part = list(texts[start : start + _TEXTS_AT_ONCE])
        yield from whole.encode_batch(part, add_special_tokens=False)


def _joined(parts: list[ndarray], lengths: list[int]) -> EncodedTexts:
    ids = np.concatenate([np.zeros(0, dtype=np.int64), *parts])
    return EncodedTexts(ids, np.cumsum([0, *lengths], dtype=np.int64))


def _characters(
    context: str, reported: Int64[ndarray, "T 2"], is_space: Bool[ndarray, "T"]
) -> Int64[ndarray, "T 2"]:
    """From the places that the tokenizer reports to the characters that the tokens stand for.

    `is_space`: tokens of a space mark alone; one before the first word is placed on its letter.
    Both columns ascend.
    """
    visible = np.array([n for n, one in enumerate(context) if not one.isspace()], dtype=np.int64)
    bounded = np.concatenate([[-1], visible, [len(context)]])
    begins = bounded[np.searchsorted(visible, reported[:, 0], side="left") + 1]
    ends = bounded[np.searchsorted(visible, reported[:, 1], side="left")] + 1
    ends = _with_marks(context, begins, ends)
    is_empty = is_space | (begins >= ends)
    middle = np.minimum(begins, ends)  # where the token before it ends
    begins, ends = np.where(is_empty, middle, begins), np.where(is_empty, middle, ends)
    # Unicode's normal forms may reorder what they were made from.
    return np.maximum.accumulate(np.stack([begins, ends], axis=1), axis=0)


def _with_marks(
    context: str, begins: Int64[ndarray, "T"], ends: Int64[ndarray, "T"]
) -> Int64[ndarray, "T"]:
    """Ends moved behind the combining marks there, up to the next token."""
    if context.isascii():
        return ends
    plain = [n for n, one in enumerate(context) if not category(one).startswith("M")]
    behind = np.array([*plain, len(context)])[np.searchsorted(plain, ends, side="left")]
    next_begins = np.append(begins, len(context))[1:]
    return np.maximum(ends, np.minimum(behind, next_begins))
