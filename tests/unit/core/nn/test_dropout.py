"""Dropout: the expected share, the expectation kept, the same masks for the same key."""

import numpy as np
import pytest
import torch
from torch import nn

from stages.core.nn.dropout import Dropout, Noise, replace_dropout

SIZE = torch.Size((1000, 1001))


@pytest.mark.parametrize("probability", [0.1, 0.25, 0.5, 0.9])
def test_the_share_dropped_is_the_probability(probability):
    mask = Noise(1, 0).mask(SIZE, probability)
    number = SIZE.numel()
    dropped = (mask == 0).sum().item()
    deviation = np.sqrt(number * probability * (1 - probability))
    assert abs(dropped - number * probability) < 5 * deviation
    kept = mask[mask != 0]
    assert kept.unique().numel() == 1
    assert kept[0].item() == pytest.approx(1 / (1 - probability), rel=1e-3)


def test_the_scale_keeps_the_expectation_of_the_rounded_probability():
    mask = Noise(1, 0).mask(torch.Size((8,)), 0.1)
    share = round(0.1 * 65536) / 65536
    assert mask.max().item() == pytest.approx(1 / (1 - share), rel=1e-7)


def test_neighbours_are_independent():
    dropped = (Noise(3, 0).mask(SIZE, 0.1).flatten() == 0).double()
    for distance in (1, 2, 3, 4, 1001):
        both = (dropped[distance:] * dropped[:-distance]).mean().item()
        deviation = np.sqrt(0.01 * 0.99 / len(dropped))
        assert abs(both - 0.01) < 5 * deviation, distance


def test_a_key_gives_the_same_masks_again_and_another_key_others():
    noise = Noise(1, 0)
    noise.start(step=7, piece=1)
    first = [noise.mask(SIZE, 0.1), noise.mask(SIZE, 0.1)]
    assert not torch.equal(*first)
    noise.start(step=7, piece=1)
    assert torch.equal(noise.mask(SIZE, 0.1), first[0])
    for seed, rank, step, piece in ((2, 0, 7, 1), (1, 1, 7, 1), (1, 0, 8, 1), (1, 0, 7, 0)):
        other = Noise(seed, rank)
        other.start(step, piece)
        assert not torch.equal(other.mask(SIZE, 0.1), first[0])


def test_what_is_dropped_passes_no_gradient():
    hidden = torch.ones(50, 40, dtype=torch.float64, requires_grad=True)
    shown = Dropout(0.3, Noise(1, 0))(hidden)
    assert shown.dtype == torch.float64
    shown.sum().backward()
    assert torch.equal(hidden.grad, shown.detach())


def test_evaluation_drops_nothing():
    hidden = torch.ones(4, 4)
    dropout = Dropout(0.5, Noise(1, 0)).eval()
    assert dropout(hidden) is hidden


def test_every_dropout_of_a_model_is_replaced_and_keeps_its_probability():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.2)), nn.Dropout(0.4))
    weights = list(model.state_dict())
    replace_dropout(model, Noise(1, 0))
    assert [m.p for m in model.modules() if isinstance(m, Dropout)] == [0.2, 0.4]
    assert not [m for m in model.modules() if type(m) is nn.Dropout]
    assert list(model.state_dict()) == weights
