"""Batches: every example once an epoch, the same whatever the ranks, phases cut where stated."""

import numpy as np
import pytest

from stages.pretraining.batches import global_batch, micro_batches, phase_spans
from stages.pretraining.params import Phase


def test_every_example_comes_once_in_each_epoch():
    seen = np.concatenate([global_batch(60, step, 25, seed=1, phase=0) for step in range(12)])
    for epoch in range(5):
        assert sorted(seen[epoch * 60 : (epoch + 1) * 60].tolist()) == list(range(60))
    assert seen[:60].tolist() != seen[60:120].tolist()


def test_order_depends_on_seed_and_phase():
    first = global_batch(1000, 0, 50, seed=1, phase=0)
    assert not np.array_equal(first, global_batch(1000, 0, 50, seed=2, phase=0))
    assert not np.array_equal(first, global_batch(1000, 0, 50, seed=1, phase=1))


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("micro", [1, 7, 64])
def test_ranks_and_micro_batches_share_a_global_batch_without_loss(world_size, micro):
    chosen = global_batch(1000, 3, 30, seed=1, phase=0)
    pieces = [
        piece
        for rank in range(world_size)
        for piece in micro_batches(
            chosen, rank=rank, world_size=world_size, micro_batch_sequences=micro
        )
    ]
    assert np.concatenate(pieces).tolist() == chosen.tolist()
    assert max(len(piece) for piece in pieces) <= micro


def test_phases_end_where_their_shares_say():
    def phase(share):
        return Phase(max_seq_length=128, share_of_steps=share, global_batch_sequences=8)

    spans = phase_spans((phase(0.9), phase(0.1)), 1001)
    assert [(span.first_step, span.last_step) for span in spans] == [(0, 901), (901, 1001)]
