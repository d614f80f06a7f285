"""Choose the documents that the vocabulary is trained on: by a hash of their id, up to a size.

The choice depends on ids and sizes alone, so that neither order nor files show, and a document
that is added moves few others. In memory: 16 bytes a document.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from stages.core.documents import iter_documents
from stages.core.random import hash_fraction

_PURPOSE = "tokenizer.sample"


def sample_threshold(
    fractions: Float64[ndarray, "documents"],
    sizes: Int64[ndarray, "documents"],
    sample_bytes: int,
) -> float:
    """The hash below which documents are taken: the fewest that reach `sample_bytes` together."""
    order = np.argsort(fractions, kind="stable")
    reached = np.searchsorted(np.cumsum(sizes[order]), sample_bytes)
    if reached >= len(order):
        return 1.0
    return float(np.nextafter(fractions[order[reached]], 1.0))


def choose_documents(corpus: Path, sample_bytes: int) -> float:
    """Read the corpus once and return the threshold of its sample."""
    facts = [
        (hash_fraction(identity, _PURPOSE), len(text.encode()))
        for identity, text in iter_documents(corpus, "train")
    ]
    return sample_threshold(
        np.array([fraction for fraction, _ in facts]),
        np.array([size for _, size in facts], dtype=np.int64),
        sample_bytes,
    )


def iter_sample(corpus: Path, threshold: float) -> Iterator[str]:
    """Yield the texts of the sample, in corpus order."""
    for identity, text in iter_documents(corpus, "train"):
        if hash_fraction(identity, _PURPOSE) < threshold:
            yield text
