"""Weights that are loaded lie in memory like fresh ones, so that products round alike."""

import pytest
import torch

from stages.pretraining.objective import load_objective
from stages.pretraining.weights import realign
from tests.conformance.batches import OBJECTIVES, objective_of, params_of


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loaded_weights_begin_where_fresh_ones_do(name, tmp_path):
    fresh = objective_of(name, torch.float32)
    fresh.save(tmp_path)
    loaded, missing = load_objective(name).load(tmp_path, params_of(name))
    assert not missing
    assert any(weight.data_ptr() % 64 for weight in loaded.parameters())
    realign(loaded)
    weights = dict(loaded.named_parameters())
    assert not any(weight.data_ptr() % 64 for weight in weights.values())
    for key, weight in fresh.named_parameters():  # tied ones once, as before
        assert torch.equal(weight, weights[key]), key
    assert len(weights) == len(dict(fresh.named_parameters()))
