"""The layers of a transformers model over packed sequences, computed where somebody looks.

In: flat token ids of a batch and its `Layout`. Out: hidden states at the positions that are read.
Every layer but the last is transformers' own, with the attention registered here; the last one's
queries, output and feed-forward are computed at the read positions alone, while its keys and values
see all, which changes no number that is read.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface

from stages.core.nn.attention import attend
from stages.core.nn.layout import Layout, collect

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

    `body`: a BertModel, RobertaModel or ElectraModel. `inputs`, of T tokens: input_ids,
    token_type_ids and position_ids (T), from 0 in each sequence; their `layout`; read_index (R),
    ascending, and the layout `reading` of what it reads.
    """
    position_ids = inputs["position_ids"]
    if hasattr(body.embeddings, "padding_idx"):  # RoBERTa numbers them from the one behind it
        position_ids = position_ids + body.embeddings.padding_idx + 1
    hidden = body.embeddings(
        input_ids=inputs["input_ids"][None],
        token_type_ids=inputs["token_type_ids"][None],
        position_ids=position_ids[None],
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
    query, key, value = (states.squeeze(0).transpose(0, 1) for states in (query, key, value))
    return attend(module, query, key, value, layout)[None], None
