"""The schedule and BERT's Adam against the formulas of the original, worked by hand."""

import pytest
import torch
from torch import nn

from stages.core.nn.optimizer import BertAdam, linear_schedule, parameter_groups


def test_the_rate_rises_then_falls_to_zero_at_the_end():
    rates = [linear_schedule(step, 2, 6) for step in range(7)]
    assert rates == pytest.approx([1 / 3, 2 / 3, 1.0, 0.75, 0.5, 0.25, 0.0])


def test_without_warm_up_the_first_rate_is_the_peak():
    assert linear_schedule(0, 0, 10) == 1.0


def test_layer_norm_and_biases_are_not_decayed_and_a_tied_weight_is_listed_once():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "norm": nn.LayerNorm(2), "b": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    decayed, undecayed = parameter_groups(model, 0.01)
    assert [p.shape for p in decayed["params"]] == [torch.Size([2, 2])]
    assert len(undecayed["params"]) == 4
    assert (decayed["weight_decay"], undecayed["weight_decay"]) == (0.01, 0.0)


def test_berts_adam_does_not_correct_the_moments():
    weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = BertAdam([weight], lr=0.1, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01)
    weight.grad = torch.tensor([0.5], dtype=torch.float64)
    optimizer.step()
    first, second = 0.1 * 0.5, 0.001 * 0.25
    expected = 2.0 - 0.1 * (first / (second**0.5 + 1e-6) + 0.01 * 2.0)
    assert weight.item() == pytest.approx(expected, rel=1e-12)
    optimizer.step()
    first, second = 0.9 * first + 0.1 * 0.5, 0.999 * second + 0.001 * 0.25
    expected -= 0.1 * (first / (second**0.5 + 1e-6) + 0.01 * expected)
    assert weight.item() == pytest.approx(expected, rel=1e-12)
