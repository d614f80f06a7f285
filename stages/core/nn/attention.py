"""Attention within packed sequences: by a GPU's kernel for them, else block by block.

In: queries (R, A, D), keys and values (T, A, D) of A heads of size D, one row a token, and their
`Layout`. Out: (R, A, D). With dropout of the weights a CPU has no kernel in torch; what stands here
computes it in plain products, copies each operand once each way, and keeps two numbers a pair.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

from stages.core.nn.dropout import Dropout
from stages.core.nn.layout import Block, Layout, Rows


def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """Attention (R, A, D) of each sequence to itself; `module` holds `scaling` and `dropout`."""
    is_dropping = module.training and module.dropout.p > 0
    if has_kernel(query) and not is_dropping:
        from torch.nn.attention.varlen import varlen_attn  # it loads torch's compiler

        keys, queries = layout.keys, layout.queries
        return varlen_attn(
            query,
            key,
            value,
            queries.cumulative,
            keys.cumulative,
            queries.longest,
            keys.longest,
            scale=module.scaling,
        )
    if is_dropping and query.device.type == "cpu" and isinstance(module.dropout, Dropout):
        context: Tensor = _DropoutAttention.apply(
            query, key, value, layout.blocks, module.dropout, module.scaling
        )
        return context
    probability = module.dropout.p if is_dropping else 0.0
    parts = [
        _attend_block(query, key, value, block, probability, module.scaling)
        for block in layout.blocks
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def has_kernel(query: Tensor) -> bool:
    """Whether flash attention for sequences of any length takes this; it knows no dropout."""
    is_half = query.dtype in (torch.bfloat16, torch.float16)
    return query.is_cuda and is_half and query.shape[-1] % 8 == 0


def _attend_block(
    query: Tensor, key: Tensor, value: Tensor, block: Block, probability: float, scaling: float
) -> Tensor:
    """The block's rows (rows, A, D), by torch's own attention."""
    query = block.queries.spread(query).transpose(1, 2)
    key, value = (block.keys.spread(states).transpose(1, 2) for states in (key, value))
    bias = None if block.hidden is None else block.hidden.to(query.dtype)
    context = scaled_dot_product_attention(
        query, key, value, attn_mask=bias, dropout_p=probability, scale=scaling
    )
    return block.queries.collect(context.transpose(1, 2))


class _DropoutAttention(torch.autograd.Function):
    """All blocks, their weights P dropped to W = P * mask by the keyed masks.

    The mask itself is not kept. With G the gradient of W, that of the scores before softmax is
    P * (mask * G - sum(P * mask * G)), which is W * G - P * sum(W * G).
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        blocks: tuple[Block, ...],
        dropout: Dropout,
        scaling: float,
    ) -> Tensor:
        context = query.new_empty(query.shape)
        nothing = query.new_zeros(())  # beta 0: it is never read
        kept = []
        for block in blocks:
            queries = _by_head(query, block.queries)
            keys, values = (_by_head(states, block.keys) for states in (key, value))
            scores = torch.baddbmm(nothing, queries, keys.transpose(1, 2), beta=0, alpha=scaling)
            if block.hidden is not None:
                scores.view(block.keys.sequences, -1, *scores.shape[1:]).add_(block.hidden)
            weights = scores.softmax(dim=-1, dtype=torch.float32)
            dropped = (weights * dropout.mask(weights)).to(query.dtype)
            _to_rows(torch.bmm(dropped, values), block.queries, context)
            kept += [queries, keys, values, weights, dropped]
        ctx.save_for_backward(*kept)
        ctx.blocks, ctx.scaling = blocks, scaling
        return context

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        kept = ctx.saved_tensors
        num_keys = ctx.blocks[-1].keys.stop
        shapes = [(size, *gradients[0].shape[1:]) for size in (len(gradients[0]), num_keys)]
        query, key, value = (gradients[0].new_empty(shapes[n]) for n in (0, 1, 1))
        nothing = query.new_zeros(())
        for number, block in enumerate(ctx.blocks):
            queries, keys, values, weights, dropped = kept[5 * number : 5 * number + 5]
            context = _by_head(gradients[0], block.queries)
            _to_rows(torch.bmm(dropped.transpose(1, 2), context), block.keys, value)
            slope = torch.bmm(context, values.transpose(1, 2)).float().mul_(dropped)
            slope = slope.addcmul_(weights, slope.sum(dim=-1, keepdim=True), value=-1)
            slope = slope.to(query.dtype)
            scaled = {"beta": 0, "alpha": ctx.scaling}
            _to_rows(torch.baddbmm(nothing, slope, keys, **scaled), block.queries, query)
            transposed = slope.transpose(1, 2)
            _to_rows(torch.baddbmm(nothing, transposed, queries, **scaled), block.keys, key)
        return query, key, value, None, None, None


def _by_head(flat: Float[Tensor, "T A D"], rows: Rows) -> Float[Tensor, "nA width D"]:
    """The grid of these rows, a matrix for each sequence and head."""
    return rows.spread(flat).transpose(1, 2).flatten(0, 1)


def _to_rows(grid: Float[Tensor, "nA width D"], rows: Rows, flat: Float[Tensor, "T A D"]) -> None:
    """Write what `_by_head` took out of `flat` back into it."""
    spread = grid.view(rows.sequences, -1, *grid.shape[1:]).transpose(1, 2)
    mine = flat[rows.start : rows.stop]
    if rows.place is None:
        mine.view(spread.shape).copy_(spread)
    else:
        torch.index_select(spread.flatten(0, 1), 0, rows.place, out=mine)
