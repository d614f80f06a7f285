"""What a GPU runs instead of the blocks, as far as it can be held without one."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import varlen
from torch.nn.functional import scaled_dot_product_attention

from stages.core.nn import attention, body
from stages.core.nn.layout import moved
from stages.pretraining.objective import load_objective
from tests.conformance.batches import OBJECTIVES, batch_of, objective_of, total_loss

HALF, CUDA = torch.bfloat16, torch.device("cuda")


def batch_for(name, size=6):
    reads = load_objective(name).reads
    return batch_of(size=size, has_pairs=name == "bert", unit="span", reads=reads)


def reference_kernel(query, key, value, query_borders, key_borders, most_queries, most_keys, scale):
    """What flash attention for sequences of any length computes, sequence by sequence."""
    assert query_borders.dtype == key_borders.dtype == torch.int32
    assert most_queries == int(query_borders.diff().max())
    assert most_keys == int(key_borders.diff().max())
    parts = []
    for number in range(len(key_borders) - 1):
        mine = slice(*query_borders[number : number + 2].tolist())
        keys = slice(*key_borders[number : number + 2].tolist())
        states = (query[mine], key[keys], value[keys])
        states = [one.transpose(0, 1)[None] for one in states]
        parts.append(scaled_dot_product_attention(*states, scale=scale)[0].transpose(0, 1))
    return torch.cat(parts)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_kernel_is_given_what_the_blocks_compute(name, monkeypatch):
    objective, batch = objective_of(name).eval(), batch_for(name)
    expected = total_loss(objective, objective(batch.inputs))
    calls = []

    def kernel(*arguments, **options):
        calls.append(arguments)
        return reference_kernel(*arguments, **options)

    monkeypatch.setattr(attention, "has_kernel", lambda _query: True)
    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    found = total_loss(objective, objective(batch.inputs))
    assert calls
    torch.testing.assert_close(found, expected)


def test_the_kernel_takes_half_precision_on_cuda_alone():
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert attention.has_kernel(torch.empty(5, 2, 64, dtype=HALF, device=CUDA))
        assert not attention.has_kernel(torch.empty(5, 2, 64, device=CUDA))
        assert not attention.has_kernel(torch.empty(5, 2, 20, dtype=HALF, device=CUDA))
        assert not attention.has_kernel(torch.empty(5, 2, 64, dtype=HALF))


def test_torchs_own_kernel_accepts_the_arguments():
    layout = batch_of().inputs["reading"]
    num_rows = [int(one.cumulative[-1]) for one in (layout.queries, layout.keys)]
    with FakeTensorMode(allow_non_fake_inputs=True):
        there = moved(layout, lambda tensor: torch.empty_like(tensor, device=CUDA))
        query, key = (torch.empty(size, 2, 64, dtype=HALF, device=CUDA) for size in num_rows)
        out = varlen.varlen_attn(
            query,
            key,
            key,
            there.queries.cumulative,
            there.keys.cumulative,
            there.queries.longest,
            there.keys.longest,
            scale=0.125,
        )
    assert (out.shape, out.device.type, out.dtype) == (query.shape, "cuda", HALF)


@pytest.mark.slow
def test_compiled_layers_compute_the_same_for_any_number_of_tokens():
    name = "electra"  # two models, and embeddings narrower than the layers
    plain, compiled = objective_of(name), objective_of(name)
    compiled.load_state_dict(plain.state_dict())
    body.compile_layers(compiled, backend="aot_eager")
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for size in (6, 4, 9):
        batch = batch_for(name, size)
        losses = [total_loss(one, one(batch.inputs)) for one in (plain, compiled)]
        torch.testing.assert_close(*losses)
        for loss in losses:
            loss.backward()
    for mine, theirs in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
