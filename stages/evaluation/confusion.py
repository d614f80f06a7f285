"""Which classes a classifier takes for which."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray


@dataclass(frozen=True)
class Confusion:
    """Counts of examples; `counts[label][prediction]`, both as class ids."""

    class_names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def labelled(self) -> tuple[int, ...]:
        """Examples of each class."""
        return tuple(sum(row) for row in self.counts)

    @property
    def predicted(self) -> tuple[int, ...]:
        """Predictions of each class."""
        return tuple(sum(column) for column in zip(*self.counts, strict=True))


def confusion(
    labels: Float64[ndarray, "N"], predictions: Float64[ndarray, "N"], class_names: Sequence[str]
) -> Confusion:
    """Count every pair of label and prediction; both are ids below the number of classes."""
    size = len(class_names)
    pairs = (labels * size + predictions).astype(np.int64)
    counts = np.bincount(pairs, minlength=size * size).reshape(size, size)
    return Confusion(tuple(class_names), tuple(tuple(int(n) for n in row) for row in counts))
