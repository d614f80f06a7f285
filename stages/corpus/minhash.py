"""MinHash signatures and their bands, with datasketch's permutations.

In: the shingle hashes of a document. Out: a signature whose share of equal places estimates the
Jaccard similarity of two shingle sets, and one key a band; documents with an equal key in any band
are compared. Bands are chosen so that a pair at the threshold is compared with 99 % probability.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt32, UInt64
from numpy import ndarray

from stages.core.random import Draws
from stages.corpus.params import NearDuplicateParams
from stages.corpus.shingles import hash_runs

_SEED = 1
_CHUNK = 2_048  # shingles at once: the product with 128 permutations stays in the cache
_RECALL_AT_THRESHOLD = 0.99
_BAND_KEY = Draws(0, "bands")


@dataclass(frozen=True)
class Bands:
    """How a signature is cut into bands of rows."""

    num_bands: int
    num_rows: int

    def keys(self, signatures: UInt32[ndarray, "n perms"]) -> UInt64[ndarray, "bands n"]:
        """The key of each document in each band."""
        if not self.num_bands:
            return np.zeros((0, len(signatures)), np.uint64)
        used = signatures[:, : self.num_bands * self.num_rows]
        rows = used.reshape(len(signatures), self.num_bands, self.num_rows)
        return _BAND_KEY.bits(*np.moveaxis(rows, 2, 0)).T


def choose_bands(similarity_threshold: float, num_permutations: int) -> Bands:
    """The longest bands that still compare a pair at the threshold with 99 % probability.

    A pair of similarity s shares a key with probability 1 - (1 - s**rows)**bands.
    Source: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4.2.
    """
    for num_rows in range(num_permutations, 1, -1):
        num_bands = num_permutations // num_rows
        if 1 - (1 - similarity_threshold**num_rows) ** num_bands >= _RECALL_AT_THRESHOLD:
            return Bands(num_bands, num_rows)
    return Bands(num_permutations, 1)


class Signer:
    """Makes signatures; holds the permutations."""

    def __init__(self, params: NearDuplicateParams) -> None:
        from datasketch import MinHash

        self._shingle_words = params.shingle_words
        self._empty = MinHash(params.num_permutations, seed=_SEED, hashfunc=int, scheme="affine32")

    def sign(self, words: UInt64[ndarray, "words"], fallback: int) -> UInt32[ndarray, "perms"]:
        """The signature of a document with these word hashes.

        A document with fewer words than a shingle is one shingle; without any word, `fallback`.
        """
        shingles = hash_runs(words, max(1, min(self._shingle_words, len(words))))
        hashes = np.unique(shingles >> np.uint64(32))
        values = hashes.tolist() or [fallback & 0xFFFFFFFF]
        sketch = self._empty.copy()
        for start in range(0, len(values), _CHUNK):
            sketch.update_batch(values[start : start + _CHUNK])
        return sketch.hashvalues
