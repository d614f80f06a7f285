"""Floating point operations of the parts of an encoder: matrix products, two per multiply-add.

Counted are tokens that are there, not padding. With T tokens, Q the sum of squared lengths, H the
hidden size, I the feed-forward size: a layer's projections cost 2 T (4 H^2 + 2 H I), its attention
4 Q H. Softmax, LayerNorm, gelu, embeddings and the optimiser are left out: they are no products.
The tests hold the sums equal to `torch.utils.flop_counter`.
"""

from itertools import pairwise
from typing import Any

from stages.pretraining.objective import Work


def body_flops(config: Any, work: Work) -> float:
    """The layers of a transformer, with the projection of narrower embeddings if it has one."""
    hidden, inner = config.hidden_size, config.intermediate_size
    layer = 2.0 * work.tokens * (4 * hidden**2 + 2 * hidden * inner)
    layer += 4.0 * work.squared_lengths * hidden
    embedding = getattr(config, "embedding_size", hidden)
    projection = 2.0 * work.tokens * embedding * hidden if embedding != hidden else 0.0
    return config.num_hidden_layers * layer + projection


def dense_flops(rows: int, *widths: int) -> float:
    """A chain of dense layers: (rows, w0) -> w1 -> w2 and so on."""
    return sum(2.0 * rows * a * b for a, b in pairwise(widths))


def masked_lm_head_flops(config: Any, num_masked: int) -> float:
    """Dense layer and projection to the vocabulary, at masked positions only."""
    width = getattr(config, "embedding_size", config.hidden_size)
    return dense_flops(num_masked, config.hidden_size, width, config.vocab_size)
