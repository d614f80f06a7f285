"""Words and runs of words as 64-bit hashes: what duplicates and contamination are found by.

A word is a run of letters, digits and underscores in lower case; a character of a script that is
written without spaces is a word of its own. So punctuation, case and white space do not count.
Each distinct word is hashed once a worker; everything behind it is array arithmetic.
"""

import re
from hashlib import blake2b

import numpy as np
from jaxtyping import UInt64
from numpy import ndarray

from stages.core.random import Draws

# Scripts written without spaces: Thai to Lao, Myanmar, Khmer, kana, Han with its extensions.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_MAX_WORD_CHARACTERS = 64
_ASCII_WORD = re.compile(rf"\w{{1,{_MAX_WORD_CHARACTERS}}}", re.ASCII)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]{{1,{_MAX_WORD_CHARACTERS}}}")
_MAX_REMEMBERED = 500_000
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no position is lost to the modulus 2**64
_FINISH = Draws(0, "shingles")


class WordHashes(dict[str, int]):
    """The hash of a word, remembered; forgets everything when it has grown too large."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _MAX_REMEMBERED:
            self.clear()
        value = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
        self[word] = value
        return value

    def of_text(self, text: str) -> UInt64[ndarray, "words"]:
        """The hashes of a text's words, in order."""
        words = split_words(text)
        return np.fromiter(map(self.__getitem__, words), np.uint64, len(words))


def split_words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    pattern = _ASCII_WORD if text.isascii() else _WORD
    return pattern.findall(text.lower())


def hash_runs(words: UInt64[ndarray, "words"], length: int) -> UInt64[ndarray, "runs"]:
    """A hash for each run of `length` words; empty where there are fewer words."""
    count = len(words) - length + 1
    if count <= 0:
        return np.zeros(0, np.uint64)
    runs = np.zeros(count, np.uint64)
    for offset in range(length):
        runs *= _BASE
        runs += words[offset : offset + count]
    return _FINISH.bits(runs)
