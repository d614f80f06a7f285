"""The layout: every row has its place, none is shared, and gradients come back to their rows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.nn.layout import make_layout, moved, sequence_order


@st.composite
def lengths_and_reads(draw):
    lengths = np.sort(np.array(draw(st.lists(st.integers(2, 70), min_size=1, max_size=12))))
    reads = np.array([draw(st.integers(0, int(length))) for length in lengths])
    return lengths, reads


def rows_of(count):
    return torch.arange(count * 6, dtype=torch.float64).view(count, 2, 3)


@given(lengths_and_reads())
@settings(max_examples=60, deadline=None)
def test_blocks_hold_every_row_once_in_order(counts):
    lengths, reads = counts
    layout = make_layout(lengths, reads).blocks
    for kind, number in (("keys", lengths), ("queries", reads)):
        flat = rows_of(int(number.sum()))
        collected = [
            getattr(block, kind).collect(getattr(block, kind).spread(flat)) for block in layout
        ]
        assert torch.equal(torch.cat(collected), flat)
        borders = [0, *np.cumsum(number).tolist()]
        rows, sequence = [getattr(block, kind) for block in layout], 0
        for one in rows:
            assert one.start == borders[sequence]
            sequence += one.sequences
            assert one.stop == borders[sequence]
        assert sequence == len(number)
    assert len(layout) <= 5


@given(lengths_and_reads())
@settings(max_examples=60, deadline=None)
def test_a_row_of_the_grid_is_a_sequence_and_what_is_empty_is_hidden(counts):
    lengths, reads = counts
    sequence = 0
    flat = torch.repeat_interleave(torch.arange(len(lengths)) + 1.0, torch.from_numpy(lengths))
    for block in make_layout(lengths, reads).blocks:
        grid = block.keys.spread(flat[:, None, None])[:, :, 0, 0]
        for row in range(block.keys.sequences):
            length = lengths[sequence]
            assert (grid[row, :length] == sequence + 1).all()
            assert (grid[row, length:] == 0).all()
            if block.hidden is None:
                assert length == block.keys.width
            else:
                bias = block.hidden[row, 0, 0]
                assert (bias[:length] == 0).all()
                assert torch.isneginf(bias[length:]).all()
            sequence += 1
    assert sequence == len(lengths)


def test_sequences_of_one_length_are_a_view_of_the_flat_tokens():
    lengths = np.array([16, 16, 16])
    (block,) = make_layout(lengths, lengths).blocks
    flat = rows_of(48)
    assert block.hidden is None
    assert block.keys.spread(flat).data_ptr() == flat.data_ptr()


def test_the_longest_are_not_padded_for_those_that_are_nearly_as_long():
    layout = make_layout(np.array([15, 127, 128, 128]), np.array([1, 1, 1, 1]))
    assert [block.keys.width for block in layout.blocks] == [15, 127, 128]


def test_gradients_come_back_to_their_rows():
    layout = make_layout(np.array([5, 7, 7, 40]), np.array([0, 2, 1, 3]))
    flat = rows_of(59).requires_grad_()
    weight = torch.rand(59, 2, 3, dtype=torch.float64)
    parts = [block.keys.collect(block.keys.spread(flat) * 2) for block in layout.blocks]
    (torch.cat(parts) * weight).sum().backward()
    assert torch.allclose(flat.grad, 2 * weight)


def test_borders_are_where_sequences_begin_and_end():
    layout = make_layout(np.array([5, 7, 40]), np.array([1, 0, 3]))
    assert layout.keys.cumulative.tolist() == [0, 5, 12, 52]
    assert layout.queries.cumulative.tolist() == [0, 1, 1, 4]
    assert (layout.keys.longest, layout.queries.longest) == (40, 3)
    assert layout.keys.cumulative.dtype == torch.int32


def test_a_layout_moves_whole():
    layout = make_layout(np.array([5, 7, 40]), np.array([1, 2, 3]))
    there = moved(layout, lambda tensor: tensor.to("meta"))
    first = there.blocks[0]
    tensors = (first.keys.place, first.queries.place, first.hidden, there.keys.cumulative)
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 4
    assert first.keys.sequences == layout.blocks[0].keys.sequences
    assert there.blocks[1].hidden is None
    assert there.queries.longest == 3


@pytest.mark.parametrize("lengths", [[3], [9, 2, 5, 2]])
def test_the_shortest_come_first(lengths):
    order = sequence_order(np.array(lengths))
    assert [lengths[n] for n in order] == sorted(lengths)


def test_a_layout_of_all_rows_is_the_one_that_reads_them_all():
    lengths = np.array([5, 7, 7, 40])
    derived = make_layout(lengths, np.array([1, 2, 0, 3])).of_all_rows()
    plain = make_layout(lengths, lengths)
    flat = rows_of(int(lengths.sum()))
    for mine, expected in zip(derived.blocks, plain.blocks, strict=True):
        assert mine.queries is mine.keys
        assert torch.equal(mine.keys.spread(flat), expected.queries.spread(flat))
    for mine, expected in ((derived.keys, plain.keys), (derived.queries, plain.queries)):
        assert torch.equal(mine.cumulative, expected.cumulative)
        assert mine.longest == expected.longest
