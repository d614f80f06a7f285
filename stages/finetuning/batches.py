"""Batches of encoded examples: of similar length, packed without padding or padded."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from stages.core.nn.layout import make_layout, sequence_order
from stages.core.random import Draws
from stages.core.ranges import numbers_within, ranges
from stages.finetuning.features import Features

_BATCHES_IN_A_BUCKET = 32  # sorted by length within it; the order of batches stays random


@dataclass(frozen=True)
class Packed:
    """A batch without padding, whose first tokens are read."""

    examples: Int64[ndarray, "B"]
    """The examples' numbers, in the order of the batch."""
    inputs: dict[str, Any]
    """As `stages.core.nn.body.encode` takes them."""


def packed_batch(features: Features, chosen: Int64[ndarray, "B"]) -> Packed:
    """These examples one behind the other without padding, the shortest first."""
    chosen = chosen[sequence_order(features.lengths[chosen])]
    lengths = features.lengths[chosen]
    place = ranges(features.offsets[chosen], lengths)
    arrays = {
        "input_ids": features.ids[place],
        "token_type_ids": features.types[place],
        "position_ids": numbers_within(lengths),
        "read_index": np.cumsum(lengths) - lengths,
    }
    reading = make_layout(lengths, np.ones_like(lengths))
    layouts = {"layout": reading.of_all_rows(), "reading": reading}
    return Packed(chosen, {n: torch.from_numpy(one) for n, one in arrays.items()} | layouts)


def padded_batch(features: Features, chosen: Int64[ndarray, "B"]) -> dict[str, Tensor]:
    """Model inputs of these examples, padded to the longest of them."""
    lengths = features.lengths[chosen]
    column = np.arange(lengths.max(initial=1))
    is_token = column < lengths[:, None]
    place = np.minimum(features.offsets[chosen][:, None] + column, len(features.ids) - 1)
    ids = np.where(is_token, features.ids[place], features.pad_token_id)
    return {
        "input_ids": torch.from_numpy(ids),
        "token_type_ids": torch.from_numpy(np.where(is_token, features.types[place], 0)),
        "attention_mask": torch.from_numpy(is_token),
    }


def shuffled_batches(
    lengths: Int64[ndarray, "N"], batch_sequences: int, *, draws: Draws, epoch: int
) -> list[Int64[ndarray, "B"]]:
    """Every example once, in random batches of similar length.

    The examples are shuffled, sorted by length within buckets of some batches, cut into batches,
    and the batches shuffled: little padding, and still another order each epoch.
    """
    order = np.argsort(draws.bits(epoch, np.arange(len(lengths)), 0), kind="stable")
    bucket = batch_sequences * _BATCHES_IN_A_BUCKET
    batches = []
    for start in range(0, len(order), bucket):
        part = order[start : start + bucket]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[n : n + batch_sequences] for n in range(0, len(part), batch_sequences)]
    shuffle = np.argsort(draws.bits(epoch, np.arange(len(batches)), 1), kind="stable")
    return [batches[n] for n in shuffle]


def sorted_batches(
    lengths: Int64[ndarray, "N"], batch_sequences: int
) -> Iterator[Int64[ndarray, "B"]]:
    """Every example once, the longest first, in batches for prediction."""
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), batch_sequences):
        yield order[start : start + batch_sequences]
