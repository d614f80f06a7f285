"""Batches as functions of the step: which examples, in which order, for which rank.

The n-th example of a phase is example `permute(n mod N)` of epoch `n div N`, so any step's batch is
found in O(1): resuming replays nothing, and no rank, worker or micro-batch shows in the order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from stages.core.artifacts import read_manifest
from stages.core.errors import ArtifactError
from stages.core.examples import ExampleIndex, assemble, open_example_index
from stages.core.random import Draws
from stages.core.token_store import TokenStore, open_token_store
from stages.pretraining.objective import Rows
from stages.pretraining.params import Phase

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Examples:
    """The examples of one length and split, with the tokens they point into."""

    store: TokenStore
    index: ExampleIndex
    max_seq_length: int
    special_token_ids: dict[str, int]

    def rows(self, chosen: Int64[ndarray, "B"]) -> Rows:
        """What is known of examples before they are built."""
        offsets = self.index.mask_offsets
        return Rows(self.index.examples[chosen], offsets[chosen + 1] - offsets[chosen])

    def batch(self, chosen: Int64[ndarray, "B"]) -> Batch:
        """Build a batch: masked inputs, where they were masked, and what stood there."""
        sequences = assemble(
            self.store,
            self.index.examples[chosen],
            max_seq_length=self.max_seq_length,
            special_token_ids=self.special_token_ids,
        )
        offsets = np.asarray(self.index.mask_offsets)
        first, last = offsets[chosen], offsets[chosen + 1]
        row = np.repeat(np.arange(len(chosen)), last - first)
        masks = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
        column = self.index.mask_positions[masks].astype(np.int64)
        masked_index = row * self.max_seq_length + column
        flat = sequences.input_ids.reshape(-1)
        labels = flat[masked_index]
        flat[masked_index] = self.index.mask_replacements[masks]
        used = int(sequences.attention_mask.sum(axis=1).max())
        return {
            "input_ids": _tensor(sequences.input_ids),
            "token_type_ids": _tensor(sequences.token_type_ids),
            "attention_mask": _tensor(sequences.attention_mask),
            "masked_index": _tensor(masked_index),
            "labels": _tensor(labels),
            "next_sentence_label": _tensor(
                self.index.examples["next_sentence_label"][chosen].astype(np.int64)
            ),
            "num_tokens": torch.tensor(int(sequences.attention_mask.sum())),
            "longest": torch.tensor(used),
        }


def placed(batch: Batch, device: torch.device) -> Batch:
    """Cut padding that no sequence of the batch needs, and move to the device."""
    longest = int(batch["longest"])
    width = batch["input_ids"].shape[1]
    row, column = batch["masked_index"] // width, batch["masked_index"] % width
    placed = {
        name: batch[name][:, :longest] for name in ("input_ids", "token_type_ids", "attention_mask")
    }
    placed["masked_index"] = row * longest + column
    placed |= {name: batch[name] for name in ("labels", "next_sentence_label")}
    return {name: value.to(device, non_blocking=True) for name, value in placed.items()}


def _tensor(values: ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


def open_examples(encoding: Path, masking: Path, max_seq_length: int, split: str) -> Examples:
    """Open the examples of one length and split.

    Raises: ArtifactError: the encoding and the masking artefact do not belong together.
    """
    facts = read_manifest(masking, "masking")
    tokenizer = read_manifest(encoding, "encoding")["tokenizer_hash"]
    if facts["tokenizer_hash"] != tokenizer:
        raise ArtifactError(
            f"{masking}: made with tokenizer {facts['tokenizer_hash']}, but the ids in {encoding} "
            f"are of {tokenizer}; run masking again"
        )
    index = open_example_index(masking, max_seq_length, split)
    if not len(index):
        raise ArtifactError(f"{masking}: no {split} example of length {max_seq_length}")
    return Examples(
        open_token_store(encoding, split), index, max_seq_length, facts["special_token_ids"]
    )


@dataclass(frozen=True)
class PhaseSpan:
    """The steps of one phase: first_step <= step < last_step."""

    phase: Phase
    first_step: int
    last_step: int


def phase_spans(phases: tuple[Phase, ...], max_steps: int) -> list[PhaseSpan]:
    """Cut the steps into phases by their cumulative shares."""
    borders = [0]
    for number in range(1, len(phases) + 1):
        share = sum(phase.share_of_steps for phase in phases[:number])
        borders.append(round(share * max_steps))
    borders[-1] = max_steps
    return [
        PhaseSpan(phase, first, last)
        for phase, first, last in zip(phases, borders[:-1], borders[1:], strict=True)
    ]


def global_batch(
    num_examples: int, step_in_phase: int, global_batch_sequences: int, *, seed: int, phase: int
) -> Int64[ndarray, "G"]:
    """Example numbers of one update, the same for any number of processes."""
    order = Draws(seed, f"pretraining.order.{phase}")
    number = step_in_phase * global_batch_sequences + np.arange(global_batch_sequences)
    epoch = number // num_examples
    chosen = np.empty(len(number), dtype=np.int64)
    for one in np.unique(epoch):
        inside = epoch == one
        chosen[inside] = order.permute(number[inside] % num_examples, num_examples, int(one))
    return chosen


def micro_batches(
    chosen: Int64[ndarray, "G"], *, rank: int, world_size: int, micro_batch_sequences: int
) -> Iterator[Int64[ndarray, "b"]]:
    """Yield this rank's share of a global batch in pieces of at most micro_batch_sequences."""
    share = np.array_split(chosen, world_size)[rank]
    pieces = max(1, -(-len(share) // micro_batch_sequences))
    yield from np.array_split(share, pieces)
