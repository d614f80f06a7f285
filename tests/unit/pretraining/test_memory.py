"""The memory of a training: the formula holds what autograd is seen to keep, and nothing less."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from stages.core.nn.dropout import Noise, replace_dropout
from stages.pretraining.memory import (
    Setting,
    activation_bytes,
    logit_bytes,
    product_weight_bytes,
    training_memory,
)
from stages.pretraining.objective import Vocabulary, load_objective
from stages.pretraining.outline import empty_objective
from stages.pretraining.weights import num_weights
from tests.builders import SPECIAL_TOKEN_IDS
from tests.conformance.batches import OBJECTIVES, VOCAB, WIDTH, batch_of, params_of

HIDDEN, LAYERS, SEQUENCES = 64, 3, 16


def settings_of(name, dropout=(0.0, 0.0)):
    shape = {"hidden_size": HIDDEN, "num_attention_heads": 2, "num_hidden_layers": LAYERS}
    model = {
        "size": "tiny",
        "overrides": {**shape, "intermediate_size": 4 * HIDDEN},
        "hidden_dropout_probability": dropout[0],
        "attention_dropout_probability": dropout[1],
    }
    return params_of(name, model=model)


def objective_of(name, dropout=(0.0, 0.0)):
    vocabulary = Vocabulary(VOCAB, SPECIAL_TOKEN_IDS)
    made = load_objective(name).from_scratch(settings_of(name, dropout), vocabulary).train()
    replace_dropout(made, Noise(0, 0))
    return made


def batch_for(objective, name, shortest=WIDTH):
    unit = "span" if name == "spanbert" else "token"
    return batch_of(
        SEQUENCES, has_pairs=name == "bert", unit=unit, shortest=shortest, reads=objective.reads
    )


def bytes_kept(objective: nn.Module, inputs, is_autocast: bool) -> int:
    """Of all storages that autograd keeps, beside the model's own."""
    own = {weight.untyped_storage().data_ptr() for weight in objective.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (tensor, storage.nbytes())  # held, or its place is reused
        return tensor

    autocast = torch.autocast("cpu", dtype=torch.bfloat16) if is_autocast else nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast:
        objective(inputs)
    return sum(size for _, size in kept.values())


def expected_bytes(objective, work, setting) -> float:
    """By the formula; of the logits one buffer outlasts the forward pass."""
    words = sum(n for name, n in objective.counts(work).items() if name in ("mlm", "sbo"))
    kept = activation_bytes(objective, work, setting) + product_weight_bytes(objective, setting)
    return kept + 4 * words * VOCAB


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("dropout", [(0.0, 0.0), (0.1, 0.0), (0.1, 0.1)], ids=str)
def test_activations_in_float32_are_those_that_autograd_keeps(name, dropout):
    objective = objective_of(name, dropout)
    batch = batch_for(objective, name)
    setting = Setting("cpu", 4, *dropout)
    expected = expected_bytes(objective, batch.work, setting)
    assert expected == pytest.approx(bytes_kept(objective, batch.inputs, False), rel=0.06)


@pytest.mark.parametrize("name", ["bert", "roberta", "spanbert"])
@pytest.mark.parametrize("dropout", [(0.0, 0.0), (0.1, 0.1)], ids=str)
def test_activations_in_bfloat16_are_those_that_autograd_keeps(name, dropout):
    objective = objective_of(name, dropout)
    batch = batch_for(objective, name)
    expected = expected_bytes(objective, batch.work, Setting("cpu", 2, *dropout))
    assert expected == pytest.approx(bytes_kept(objective, batch.inputs, True), rel=0.10)


def test_electras_projection_lets_a_cpu_keep_less_in_bfloat16_than_counted():
    objective = objective_of("electra")
    batch = batch_for(objective, "electra")
    kept = bytes_kept(objective, batch.inputs, True)
    expected = expected_bytes(objective, batch.work, Setting("cpu", 2, 0.0, 0.0))
    assert kept < expected < 1.25 * kept


@pytest.mark.parametrize("name", OBJECTIVES)
def test_full_sequences_bound_what_mixed_ones_take(name):
    objective = objective_of(name)
    full, mixed = (batch_for(objective, name, shortest) for shortest in (WIDTH, 8))
    bound = expected_bytes(objective, full.work, Setting("cpu", 4, 0.0, 0.0))
    assert bytes_kept(objective, mixed.inputs, False) < bound


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_empty_objective_has_the_weights_of_a_real_one(name):
    vocabulary = Vocabulary(VOCAB, SPECIAL_TOKEN_IDS)
    empty = empty_objective(settings_of(name), vocabulary)
    assert num_weights(empty) == num_weights(objective_of(name))
    assert all(parameter.is_meta for parameter in empty.parameters())


def test_adam_takes_sixteen_bytes_a_weight_and_sharding_spreads_the_moments():
    objective = objective_of("bert")
    work = batch_for(objective, "bert").work
    setting = Setting("cuda", 4, 0.0, 0.0)
    one = training_memory(objective, work, setting, processes=1, is_sharded=False)
    weights = num_weights(objective)
    assert one.weights + one.gradients + one.optimizer == 16 * weights
    four = training_memory(objective, work, setting, processes=4, is_sharded=True)
    assert four.optimizer == 2 * weights
    assert four.gradients == 8 * weights  # with the buckets of the exchange
    assert one.total > one.activations + one.logits + 16 * weights


def test_the_vocabularys_logits_take_two_buffers_on_a_cpu_and_three_on_a_gpu():
    objective = objective_of("bert")
    work = batch_for(objective, "bert").work
    one = 4 * work.masked * VOCAB
    assert logit_bytes(objective, work, Setting("cpu", 4, 0.0, 0.0)) == 2 * one
    assert logit_bytes(objective, work, Setting("cuda", 2, 0.0, 0.0)) == 3 * one
