"""Attention with dropout on a CPU: equal to plain autograd over the same masks, block by block."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stages.core.nn.attention import attend
from stages.core.nn.dropout import Dropout, Noise
from stages.core.nn.layout import make_layout

HEADS, SIZE, SCALING = 2, 8, 0.35
LENGTHS = np.array([3, 4, 9, 9, 16, 30, 30])
READS = np.array([1, 0, 9, 2, 5, 30, 1])


def states(seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(int(READS.sum()), HEADS, SIZE), *[(int(LENGTHS.sum()), HEADS, SIZE)] * 2]
    made = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    return [one.requires_grad_() for one in made]


def module_of(probability=0.3):
    return SimpleNamespace(
        scaling=SCALING, training=True, dropout=Dropout(probability, Noise(1, 0))
    )


def literal(query, key, value, layout, dropout):
    """Sequence by sequence and head by head, with the masks that each block draws."""
    rows, read, told, parts = 0, 0, 0, []
    for block in layout.blocks:
        grid = (block.keys.sequences * HEADS, block.queries.width, block.keys.width)
        masks = dropout.mask(torch.empty(grid, dtype=query.dtype))
        for number in range(block.keys.sequences):
            length, reads = int(LENGTHS[told]), int(READS[told])
            heads = []
            for head in range(HEADS):
                mine = query[read : read + reads, head]
                keys, values = (one[rows : rows + length, head] for one in (key, value))
                weights = (mine @ keys.T * SCALING).softmax(dim=-1)
                mask = masks[number * HEADS + head, :reads, :length]
                heads.append((weights * mask) @ values)
            parts.append(torch.stack(heads, dim=1))
            rows, read, told = rows + length, read + reads, told + 1
    return torch.cat(parts)


def test_context_and_gradients_equal_plain_products():
    layout = make_layout(LENGTHS, READS)
    assert len(layout.blocks) > 2
    mine, plain = states(0, torch.float32), states(0, torch.float32)
    context = attend(module_of(), *mine, layout)
    expected = literal(*plain, layout, module_of().dropout)
    torch.testing.assert_close(context, expected)
    slope = torch.randn(context.shape, generator=torch.Generator().manual_seed(1))
    context.backward(slope)
    expected.backward(slope)
    for one, other in zip(mine, plain, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_bfloat16_is_near_what_float32_gives():
    layout = make_layout(LENGTHS, READS)
    half, whole = states(0, torch.bfloat16), states(0, torch.float32)
    contexts = [attend(module_of(), *one, layout) for one in (half, whole)]
    assert contexts[0].dtype == torch.bfloat16
    torch.testing.assert_close(contexts[0].float(), contexts[1], atol=0.05, rtol=0.05)
    for context in contexts:
        context.sum().backward()
    for one, other in zip(half, whole, strict=True):
        assert one.grad.dtype == torch.bfloat16
        torch.testing.assert_close(one.grad.float(), other.grad, atol=0.15, rtol=0.1)


@pytest.mark.parametrize("training", [True, False])
def test_without_dropout_torchs_own_attention_gives_the_same_as_a_mask_of_ones(training):
    layout = make_layout(LENGTHS, READS)
    module = module_of(0.0 if training else 0.3)
    module.training = training
    query, key, value = states(0, torch.float32)
    expected = literal(query, key, value, layout, Dropout(0.0, Noise(1, 0)))
    torch.testing.assert_close(attend(module, query, key, value, layout), expected)
