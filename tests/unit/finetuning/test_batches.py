"""Batches: nothing lost, packed or padded, of similar length, ordered by seed and epoch."""

import numpy as np
import pytest

from stages.core.random import Draws
from stages.finetuning.batches import packed_batch, padded_batch, shuffled_batches, sorted_batches
from stages.finetuning.features import Features


def three_examples() -> Features:
    return Features(
        ids=np.array([11, 12, 13, 21, 31, 32]),
        types=np.array([0, 0, 1, 0, 0, 1]),
        offsets=np.array([0, 3, 4, 6]),
        pad_token_id=9,
        num_truncated=0,
    )


def test_a_packed_batch_holds_its_examples_behind_each_other_the_shortest_first():
    batch = packed_batch(three_examples(), np.array([0, 1, 2]))
    assert batch.examples.tolist() == [1, 2, 0]
    inputs = batch.inputs
    assert inputs["input_ids"].tolist() == [21, 31, 32, 11, 12, 13]
    assert inputs["token_type_ids"].tolist() == [0, 0, 1, 0, 0, 1]
    assert inputs["position_ids"].tolist() == [0, 0, 1, 0, 1, 2]
    assert inputs["read_index"].tolist() == [0, 1, 3]
    assert inputs["layout"].queries.cumulative.tolist() == [0, 1, 3, 6]
    assert inputs["reading"].queries.cumulative.tolist() == [0, 1, 2, 3]


def test_a_padded_batch_ends_with_its_own_longest_and_the_models_padding():
    batch = padded_batch(three_examples(), np.array([2, 1]))
    assert batch["input_ids"].tolist() == [[31, 32], [21, 9]]
    assert batch["token_type_ids"].tolist() == [[0, 1], [0, 0]]
    assert batch["attention_mask"].tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("size", [1, 7, 8, 300])
def test_shuffled_batches_hold_every_example_once_in_as_many_batches_as_fit(size):
    lengths = np.random.default_rng(0).integers(3, 60, size)
    batches = shuffled_batches(lengths, 8, draws=Draws(1, "test"), epoch=0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(size))
    assert len(batches) == -(-size // 8)


def test_the_order_is_keyed_by_seed_and_epoch():
    lengths = np.random.default_rng(0).integers(3, 60, 300)

    def order(seed, epoch):
        batches = shuffled_batches(lengths, 8, draws=Draws(seed, "test"), epoch=epoch)
        return np.concatenate(batches).tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_batches_of_similar_length_need_little_padding():
    lengths = np.random.default_rng(0).integers(4, 64, 2000)
    batches = shuffled_batches(lengths, 32, draws=Draws(1, "test"), epoch=0)
    padded = sum(lengths[batch].max() * len(batch) for batch in batches)
    assert lengths.sum() / padded > 0.93  # in random batches of 32 about 0.54


def test_prediction_goes_from_long_to_short_over_every_example_once():
    lengths = np.array([3, 9, 5, 9, 4])
    batches = [batch.tolist() for batch in sorted_batches(lengths, 2)]
    assert batches == [[1, 3], [2, 4], [0]]
