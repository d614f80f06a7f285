"""Floating point operations of the parts of an encoder: matrix products, two per multiply-add.

Counted is what must be computed: tokens that are there, not padding, and in the last layer queries
and feed-forward of the R positions that are read. With T tokens, Q the sum of squared lengths, H
the hidden size, I the feed-forward size: a layer's projections cost 2 T (4 H^2 + 2 H I), its
attention 4 Q H; the last one's 4 T H^2 + 2 R (2 H^2 + 2 H I), and 4 H for each read position and
token of its sequence. Softmax, LayerNorm, gelu, embeddings and the optimiser are left out: they are
no products. The tests hold the sums equal to `torch.utils.flop_counter`.
"""

from itertools import pairwise
from typing import Any

from stages.pretraining.objective import Work


def body_flops(config: Any, work: Work, *, reads_all: bool = False) -> float:
    """The layers of a transformer, with the projection of narrower embeddings if it has one."""
    hidden, inner = config.hidden_size, config.intermediate_size
    whole = _layer_flops(hidden, inner, work.tokens, work.tokens, work.squared_lengths)
    last = _layer_flops(hidden, inner, work.read, work.tokens, work.read_lengths)
    embedding = getattr(config, "embedding_size", hidden)
    projection = 2.0 * work.tokens * embedding * hidden if embedding != hidden else 0.0
    return (config.num_hidden_layers - 1) * whole + (whole if reads_all else last) + projection


def _layer_flops(hidden: int, inner: int, queries: int, keys: int, products: int) -> float:
    """One layer over so many queries and keys, of which `products` pairs attend."""
    per_query = 2 * hidden**2 + 2 * hidden * inner
    return 2.0 * (queries * per_query + keys * 2 * hidden**2) + 4.0 * products * hidden


def dense_flops(rows: int, *widths: int) -> float:
    """A chain of dense layers: (rows, w0) -> w1 -> w2 and so on."""
    return sum(2.0 * rows * a * b for a, b in pairwise(widths))


def masked_lm_head_flops(config: Any, num_masked: int) -> float:
    """Dense layer and projection to the vocabulary, at masked positions only."""
    width = getattr(config, "embedding_size", config.hidden_size)
    return dense_flops(num_masked, config.hidden_size, width, config.vocab_size)
