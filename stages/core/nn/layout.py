"""Where packed sequences stand: the flat tokens of a batch, cut into blocks that attend alike.

A batch holds its sequences one behind the other, the shortest first, without padding. Attention
works in blocks of sequences of about one length: a block of equal lengths is a plain view of the
flat tokens; in the others each sequence is spread to the block's width and what is empty is hidden.
Linear layers, LayerNorm and heads see the flat tokens alone. A GPU's kernel for sequences of any
length needs no blocks, only their borders.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from numpy import ndarray
from torch import Tensor

_BLOCKS = 4  # most blocks beside that of the longest sequences


@dataclass(frozen=True)
class Rows:
    """Rows start..stop of a flat tensor as a grid of (sequences, width)."""

    start: int
    stop: int
    sequences: int
    width: int
    place: Int64[Tensor, "rows"] | None
    """Where each row stands in the flattened grid; None where the grid has no empty place."""

    def spread(self, flat: Float[Tensor, "T A D"]) -> Float[Tensor, "n width A D"]:
        """The grid of these rows, 0 where it is empty."""
        mine = flat[self.start : self.stop]
        if self.place is not None:
            mine = _Spread.apply(mine, self.place, self.sequences * self.width)
        return mine.view(self.sequences, self.width, *flat.shape[1:])

    def collect(self, grid: Float[Tensor, "n width A D"]) -> Float[Tensor, "rows A D"]:
        """The rows of a grid."""
        flat = grid.flatten(0, 1)
        return flat if self.place is None else collect(flat, self.place)


@dataclass(frozen=True)
class Block:
    """Sequences that one attention call computes."""

    keys: Rows
    queries: Rows
    """The positions whose output is wanted: the keys' own, or those that are read."""
    hidden: Float[Tensor, "n 1 1 width"] | None
    """0 at tokens and -inf where the keys' grid is empty; None where nothing is."""


@dataclass(frozen=True)
class Borders:
    """Where the sequences of flat rows lie, as a kernel for sequences of any length takes it."""

    cumulative: Int32[Tensor, "B_plus_1"]
    """Sequence n is rows cumulative[n] to cumulative[n + 1]."""
    longest: int
    """Rows of the longest sequence."""


@dataclass(frozen=True)
class Layout:
    """Where the sequences of a batch stand, for keys and for queries."""

    blocks: tuple[Block, ...]
    """All sequences in order, by like lengths."""
    keys: Borders
    queries: Borders

    def of_all_rows(self) -> "Layout":
        """The same sequences, every position wanted."""
        blocks = (Block(block.keys, block.keys, block.hidden) for block in self.blocks)
        return Layout(tuple(blocks), self.keys, self.keys)


def collect(rows: Tensor, place: Int64[Tensor, "R"]) -> Tensor:
    """The rows at `place`, of which no two are the same: the gradient needs no sums."""
    collected: Tensor = _Collect.apply(rows, place)
    return collected


def sequence_order(lengths: Int64[ndarray, "B"]) -> Int64[ndarray, "B"]:
    """The order that sequences are packed in: the shortest first."""
    return np.argsort(lengths, kind="stable")


def make_layout(lengths: Int64[ndarray, "B"], reads: Int64[ndarray, "B"]) -> Layout:
    """The layout of sequences of ascending `lengths`, of which each is read at `reads` positions.

    Lengths are rounded up to a quarter of the longest, the longest stand alone: what is computed
    in vain is bounded, and so is the number of blocks.
    """
    longest = int(lengths.max(initial=1))
    step = max(8, -(-longest // _BLOCKS))
    rounded = np.where(lengths == longest, longest + step, -(-lengths // step) * step)
    firsts = np.flatnonzero(np.diff(rounded, prepend=-1))
    blocks = []
    for first, last in zip(firsts, [*firsts[1:], len(lengths)], strict=True):
        chosen = slice(first, last)
        keys = _rows(lengths[chosen], int(lengths[:first].sum()))
        queries = _rows(reads[chosen], int(reads[:first].sum()))
        blocks.append(Block(keys, queries, _hidden(lengths[chosen], keys)))
    return Layout(tuple(blocks), _borders(lengths), _borders(reads))


def moved(part: Any, move: Callable[[Tensor], Tensor]) -> Any:
    """A layout, or a part of one, with every tensor moved: to a device, or into pinned memory."""
    if isinstance(part, Tensor):
        return move(part)
    if isinstance(part, tuple):
        return tuple(moved(one, move) for one in part)
    if isinstance(part, Layout | Borders | Block | Rows):
        values = {field.name: getattr(part, field.name) for field in fields(part)}
        return type(part)(**{name: moved(value, move) for name, value in values.items()})
    return part


def _borders(counts: Int64[ndarray, "B"]) -> Borders:
    cumulative = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return Borders(torch.from_numpy(cumulative), int(counts.max(initial=0)))


def _rows(counts: Int64[ndarray, "n"], start: int) -> Rows:
    width = max(1, int(counts.max()))
    is_there = np.arange(width) < counts[:, None]
    place = None if is_there.all() else torch.from_numpy(np.flatnonzero(is_there))
    return Rows(start, start + int(counts.sum()), len(counts), width, place)


def _hidden(lengths: Int64[ndarray, "n"], keys: Rows) -> Tensor | None:
    if keys.place is None:
        return None
    is_there = torch.from_numpy(np.arange(keys.width) < lengths[:, None])
    bias = torch.zeros(is_there.shape).masked_fill_(~is_there, -torch.inf)
    return bias[:, None, None, :]


class _Spread(torch.autograd.Function):
    """Rows to their places; no two share one, so that the gradient is a plain look-up."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, place: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(place)
        return rows.new_zeros(size, *rows.shape[1:]).index_copy_(0, place, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (place,) = ctx.saved_tensors
        return gradients[0].index_select(0, place), None, None


class _Collect(torch.autograd.Function):
    """Rows from their places, the opposite of `_Spread`."""

    @staticmethod
    def forward(ctx: Any, grid: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        ctx.size = len(grid)
        return grid.index_select(0, place)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (place,), gradient = ctx.saved_tensors, gradients[0]
        return gradient.new_zeros(ctx.size, *gradient.shape[1:]).index_copy_(
            0, place, gradient
        ), None
