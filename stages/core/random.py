"""Counter-based random draws: the same draw for the same (seed, purpose, counters), always.

In: a seed, a purpose and integer counters such as (epoch, example, position). Out: uniform bits,
numbers and permutations, vectorised by broadcasting the counters. Nothing is stateful, so no
worker, shard, batch or rank layout can show in a result. The generator chains SplitMix64's
finaliser over the counters; the tests hold its uniformity and independence.
"""

import copy
import hashlib
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt64
from numpy import ndarray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)
_FEISTEL_ROUNDS = 8
_MIXED_AT_ONCE = 1 << 14  # 128 KiB, twice: within a core's second cache


class Draws:
    """Keyed draws for one purpose. `purpose` separates streams that share counters."""

    def __init__(self, seed: int, purpose: str) -> None:
        digest = hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=8).digest()
        self._state = np.array(int.from_bytes(digest, "little"), dtype=np.uint64)

    def at(self, *counters: Any) -> "Draws":
        """The draws behind these counters: `at(a).bits(b)` equals `bits(a, b)`."""
        return self._of(self.bits(*counters))

    def __getitem__(self, index: Any) -> "Draws":
        """The draws behind some of the counters that `at` was given, picked as from an array."""
        return self._of(self._state[index])

    def _of(self, state: UInt64[ndarray, "..."]) -> "Draws":
        draws = copy.copy(self)
        draws._state = state
        return draws

    def bits(self, *counters: Any) -> UInt64[ndarray, "..."]:
        """64 uniform bits for each element of the broadcast counters (non-negative integers)."""
        state = self._state
        with np.errstate(over="ignore"):
            for counter in counters:
                spread = np.asarray(counter).astype(np.uint64)
                spread *= _GOLDEN
                spread += _GOLDEN
                state = _mix(np.asarray(state ^ spread))
        return state

    def uniform(self, *counters: Any) -> Float64[ndarray, "..."]:
        """Uniform in [0, 1), 53 bits."""
        return unit_interval(self.bits(*counters))

    def integers(self, high: Any, *counters: Any) -> Int64[ndarray, "..."]:
        """Uniform integers in [0, high); `high` (1 to 2**31) may be an array that broadcasts.

        Multiply-shift on 32 bits: the bias is below high / 2**32.
        """
        top = self.bits(*counters) >> np.uint64(32)
        product = top * np.asarray(high).astype(np.uint64)
        return np.asarray(product >> np.uint64(32)).astype(np.int64)

    def permute(self, index: Any, size: int, *counters: int) -> Int64[ndarray, "..."]:
        """Where a random permutation of 0..size-1 sends each `index`, in O(1) memory.

        A Feistel network over the next even number of bits, walked until the value falls below
        `size`. `counters` (say, the epoch) choose the permutation.
        """
        values = np.atleast_1d(np.asarray(index)).astype(np.uint64)
        half = max(1, (int(size - 1).bit_length() + 1) // 2)
        pending = np.ones(values.shape, dtype=bool)
        while pending.any():
            values[pending] = self._feistel(values[pending], half, counters)
            pending &= values >= np.uint64(size)
        return values.astype(np.int64).reshape(np.shape(index))

    def _feistel(
        self, values: UInt64[ndarray, "n"], half: int, counters: tuple[int, ...]
    ) -> UInt64[ndarray, "n"]:
        low_bits = np.uint64((1 << half) - 1)
        left, right = values >> np.uint64(half), values & low_bits
        for round_number in range(_FEISTEL_ROUNDS):
            keyed = self.bits(*counters, round_number, right) >> np.uint64(64 - half)
            left, right = right, left ^ keyed
        return (left << np.uint64(half)) | right


def unit_interval(bits: UInt64[ndarray, "..."]) -> Float64[ndarray, "..."]:
    """Uniform bits as numbers in [0, 1): their upper 53."""
    return np.asarray((bits >> np.uint64(11)) * 2.0**-53)


def _mix(value: UInt64[ndarray, "..."]) -> UInt64[ndarray, "..."]:
    """SplitMix64's finaliser (Stafford's variant 13), in place, in pieces that stay in cache."""
    flat = value.reshape(-1)
    shifted = np.empty(min(len(flat), _MIXED_AT_ONCE), dtype=np.uint64)
    for start in range(0, len(flat), _MIXED_AT_ONCE):
        piece = flat[start : start + _MIXED_AT_ONCE]
        room = shifted[: len(piece)]
        for shift, multiplier in ((30, _MULTIPLIER_1), (27, _MULTIPLIER_2)):
            piece ^= np.right_shift(piece, shift, out=room)
            piece *= multiplier
        piece ^= np.right_shift(piece, 31, out=room)
    return value


def hash_fraction(text: str, purpose: str) -> float:
    """A fixed number in [0, 1) for a text: assigns documents to splits, whatever their order."""
    digest = hashlib.blake2b(f"{purpose}:{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2.0**64
