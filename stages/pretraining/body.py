"""The layers of a transformers model over packed sequences, computed where somebody looks.

In: flat token ids of a batch and its `Layout`. Out: hidden states at the positions that are read.
Every layer but the last is transformers' own, with the attention registered here; the last one's
queries, output and feed-forward are computed at the read positions alone, while its keys and values
see all, which changes no number that is read.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from stages.pretraining.layout import Block, Layout, collect

ATTENTION = "packed"


def use_packed_attention(model: Any) -> None:
    """Let a transformers model's layers attend within packed sequences."""
    AttentionInterface.register(ATTENTION, _registered_attention)
    model.config._attn_implementation = ATTENTION


def compile_layers(model: nn.Module, backend: str = "inductor") -> None:
    """Fuse what stands between the products of every layer; for CUDA, where each launch costs.

    Bias, gelu, dropout, residual and LayerNorm become one kernel each way. Any number of tokens
    goes through the same code, and no name of a weight changes.
    """
    for layer in model.modules():
        if hasattr(layer, "feed_forward_chunk"):
            for part in (layer.attention.output, layer.intermediate, layer.output):
                part.compile(dynamic=True, backend=backend)


def encode(body: Any, inputs: Mapping[str, Any], *, reads_all: bool = False) -> Tensor:
    """Hidden states (R, H) at the positions of read_index, or (T, H) at every token.

    `body`: a BertModel, RobertaModel or ElectraModel. `inputs`: as `Objective` says.
    """
    hidden = body.embeddings(
        input_ids=inputs["input_ids"][None],
        token_type_ids=inputs["token_type_ids"][None],
        position_ids=inputs["position_ids"][None],
    )
    if hasattr(body, "embeddings_project"):
        hidden = body.embeddings_project(hidden)
    *layers, last = body.encoder.layer
    for layer in layers:
        hidden = layer(hidden, layout=inputs["layout"])
    if reads_all:
        return last(hidden, layout=inputs["layout"])[0]
    return _read(last, hidden[0], inputs["read_index"], inputs["reading"])


def _read(layer: Any, hidden: Tensor, read_index: Tensor, reading: Layout) -> Tensor:
    """One layer's output (R, H) at the read positions of hidden states (T, H)."""
    attention = layer.attention.self
    wanted = collect(hidden, read_index)
    heads = (-1, attention.num_attention_heads, attention.attention_head_size)
    context = attend(
        attention,
        attention.query(wanted).view(heads),
        attention.key(hidden).view(heads),
        attention.value(hidden).view(heads),
        reading,
    )
    return layer.feed_forward_chunk(layer.attention.output(context.flatten(1), wanted))


def _registered_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, _mask: Any, *, layout: Layout, **_: Any
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: (1, A, T, D) in, (1, T, A, D) out."""
    query, key, value = (states[0].transpose(0, 1) for states in (query, key, value))
    return attend(module, query, key, value, layout)[None], None


def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """Attention within each sequence: by the GPU's kernel for it, else block by block.

    `module` holds `scaling` and `dropout`. query (R, A, D); key and value (T, A, D). Returns
    (R, A, D).
    """
    if has_kernel(query) and not (module.training and module.dropout.p):
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
    parts = [_attend_block(module, query, key, value, block) for block in layout.blocks]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def has_kernel(query: Tensor) -> bool:
    """Whether flash attention for sequences of any length takes this; it knows no dropout."""
    is_half = query.dtype in (torch.bfloat16, torch.float16)
    return query.is_cuda and is_half and query.shape[-1] % 8 == 0


def _attend_block(module: Any, query: Tensor, key: Tensor, value: Tensor, block: Block) -> Tensor:
    """The block's rows (rows, A, D)."""
    query = block.queries.spread(query).transpose(1, 2)
    key, value = (block.keys.spread(states).transpose(1, 2) for states in (key, value))
    bias = None if block.hidden is None else block.hidden.to(query.dtype)
    probability = module.dropout.p if module.training else 0.0
    if probability and query.device.type == "cpu":
        context = _dropout_attention(module.dropout, query, key, value, bias, module.scaling)
    else:
        context = scaled_dot_product_attention(
            query, key, value, attn_mask=bias, dropout_p=probability, scale=module.scaling
        )
    return block.queries.collect(context.transpose(1, 2))


def _dropout_attention(
    dropout: nn.Module, query: Tensor, key: Tensor, value: Tensor, bias: Any, scaling: float
) -> Tensor:
    """Attention (n, A, W, D) in plain products, its probabilities dropped by the keyed masks."""
    shape = query.shape
    query, key, value = (states.flatten(0, 1) for states in (query, key, value))
    nothing = query.new_zeros(())  # beta 0: it is never read
    scores = torch.baddbmm(nothing, query, key.transpose(1, 2), beta=0, alpha=scaling)
    if bias is not None:
        scores = (scores.view(*shape[:2], *scores.shape[1:]) + bias).flatten(0, 1)
    return torch.bmm(dropout(scores.softmax(dim=-1)), value).view(shape)
