"""Batches: every example once an epoch, the same whatever the ranks and the micro-batches."""

import numpy as np
import pytest

from stages.pretraining.batches import Drawn, global_batch, micro_batches
from tests.conformance.batches import batch_of, sequences_of, starts_of


def test_every_example_comes_once_in_each_epoch():
    drawn = [global_batch(60, step, 25, seed=1, phase=0) for step in range(12)]
    seen = np.concatenate([batch.number for batch in drawn])
    epochs = np.concatenate([batch.epoch for batch in drawn])
    for epoch in range(5):
        assert sorted(seen[epoch * 60 : (epoch + 1) * 60].tolist()) == list(range(60))
        assert (epochs[epoch * 60 : (epoch + 1) * 60] == epoch).all()
    assert seen[:60].tolist() != seen[60:120].tolist()


def test_order_depends_on_seed_and_phase():
    first = global_batch(1000, 0, 50, seed=1, phase=0).number
    assert not np.array_equal(first, global_batch(1000, 0, 50, seed=2, phase=0).number)
    assert not np.array_equal(first, global_batch(1000, 0, 50, seed=1, phase=1).number)


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("micro", [1, 7, 64])
def test_ranks_and_micro_batches_share_a_global_batch_without_loss(world_size, micro):
    drawn = Drawn(np.arange(30) * 3, np.arange(30) // 10)
    pieces = [
        piece
        for rank in range(world_size)
        for piece in micro_batches(
            drawn, rank=rank, world_size=world_size, micro_batch_sequences=micro
        )
    ]
    assert np.concatenate([piece.number for piece in pieces]).tolist() == drawn.number.tolist()
    assert np.concatenate([piece.epoch for piece in pieces]).tolist() == drawn.epoch.tolist()
    assert max(len(piece.number) for piece in pieces) <= micro


def test_a_batch_shows_masks_and_asks_for_what_stood_there():
    sequences, batch = sequences_of(), batch_of()
    index = batch.inputs["masked_index"].numpy()
    order = np.argsort(sequences.attention_mask.sum(axis=1), kind="stable")
    original = np.concatenate(
        [sequences.input_ids[row][sequences.attention_mask[row]] for row in order]
    )
    assert batch.inputs["labels"].tolist() == original[index].tolist()
    shown = batch.inputs["input_ids"].numpy()
    assert len(shown) == len(original)  # nothing is padded
    untouched = np.delete(np.arange(len(shown)), index)
    assert (shown[untouched] == original[untouched]).all()


def test_positions_restart_in_each_sequence():
    inputs = batch_of().inputs
    lengths = starts_of(inputs).diff().tolist()
    assert lengths == sorted(sequences_of().attention_mask.sum(axis=1).tolist())
    assert inputs["position_ids"].tolist() == [n for length in lengths for n in range(length)]
    firsts = np.flatnonzero(inputs["position_ids"].numpy() == 0)
    assert inputs["first_index"].tolist() == firsts.tolist()


def test_what_is_read_is_listed_once_and_found_again():
    reads = ("masked_index", "left_index", "right_index")
    inputs = batch_of(size=40, has_pairs=False, unit="span", reads=reads).inputs
    read = inputs["read_index"]
    assert read.tolist() == sorted(set(read.tolist()))
    for name in reads:
        found = read[inputs[name.replace("_index", "_read")]]
        assert found.tolist() == inputs[name].tolist()


def test_a_batch_knows_what_it_asks_for():
    batch = batch_of()
    work, lengths = batch.work, sequences_of().attention_mask.sum(axis=1)
    assert (work.sequences, work.tokens) == (len(lengths), lengths.sum())
    assert work.squared_lengths == (lengths**2).sum()
    assert work.masked == work.read == len(batch.inputs["labels"])
    starts = starts_of(batch.inputs)
    row = np.searchsorted(starts, batch.inputs["masked_index"], side="right") - 1
    assert work.read_lengths == starts.diff()[row].sum()


def test_boundaries_are_the_unmasked_text_beside_a_span():
    batch = batch_of(size=40, has_pairs=False, unit="span")
    inputs = {n: v.numpy() for n, v in batch.inputs.items() if hasattr(v, "numpy")}
    masked, shown = set(inputs["masked_index"].tolist()), inputs["input_ids"].reshape(-1)
    rows = inputs["boundary_rows"]
    assert 0 < len(rows) < len(masked)
    parts = zip(
        inputs["masked_index"][rows],
        inputs["left_index"],
        inputs["right_index"],
        inputs["span_position"],
        strict=True,
    )
    for place, left, right, position in parts:
        assert not {left, right} & masked
        assert set(range(left + 1, right)) <= masked
        assert shown[left] > 4
        assert shown[right] > 4
        assert place == left + 1 + position
    without = np.delete(np.arange(len(masked)), rows)
    for place in inputs["masked_index"][without]:
        first = last = place
        while first in masked:
            first -= 1
        while last in masked:
            last += 1
        assert min(shown[first], shown[last]) <= 4  # [CLS] or [SEP] is beside the span
