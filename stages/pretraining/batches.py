"""Batches as functions of the step: which examples, in which order, for which rank.

The n-th example of a phase is example `permute(n mod N)` of epoch `n div N`, so any step's batch is
found in O(1): resuming replays nothing, and no rank, worker or micro-batch shows in the order.
Dynamic masks are drawn here, keyed by (epoch, example): every epoch shows fresh ones.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray
from torch import Tensor

from stages.core.artifacts import read_manifest
from stages.core.errors import ArtifactError
from stages.core.examples import ExampleIndex, Sequences, assemble, open_example_index
from stages.core.masks.draw import Masks, draw_masks
from stages.core.masks.settings import MaskSettings, MaskVocabulary, mask_settings
from stages.core.masks.spans import span_bounds
from stages.core.nn.layout import make_layout, moved, sequence_order
from stages.core.random import Draws
from stages.core.ranges import numbers_within, ranges
from stages.core.token_store import TokenStore, open_token_store
from stages.pretraining.objective import Work

COMPARISON = "comparison"  # the split that every objective is measured on alike


@dataclass(frozen=True)
class Batch:
    """One micro-batch: what a model is given (see `Objective`), and what it asks for."""

    inputs: dict[str, Any]
    work: Work

    def placed(self, device: torch.device) -> dict[str, Any]:
        """The inputs on a device; from pinned memory the copy runs beside the computation."""
        return self._moved(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "Batch":
        """The batch in memory that a GPU copies from by itself."""
        return Batch(self._moved(Tensor.pin_memory), self.work)

    def _moved(self, move: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        return {name: moved(value, move) for name, value in self.inputs.items()}


@dataclass(frozen=True)
class Drawn:
    """Examples by number, each in the epoch that it is shown in."""

    number: Int64[ndarray, "B"]
    epoch: Int64[ndarray, "B"]


@dataclass(frozen=True)
class Examples:
    """The examples of one length and split, with the tokens they point into."""

    store: TokenStore
    index: ExampleIndex
    max_seq_length: int
    special_token_ids: dict[str, int]
    mask_settings: MaskSettings
    max_predictions: int | None
    vocabulary: MaskVocabulary
    reads: tuple[str, ...]
    """The inputs that name the positions whose hidden states the objective reads."""

    def batch(self, drawn: Drawn) -> Batch:
        """Build a batch: masked inputs, where they were masked, and what stood there."""
        sequences = assemble(
            self.store,
            self.index.examples[drawn.number],
            max_seq_length=self.max_seq_length,
            special_token_ids=self.special_token_ids,
        )
        masks = self._masks(sequences, drawn)
        column = np.arange(self.max_seq_length)
        draws = Draws(self.mask_settings.seed, f"sampling.{self.max_seq_length}")
        uniform = draws.uniform(drawn.epoch[:, None], drawn.number[:, None], column)
        label = self.index.examples["next_sentence_label"][drawn.number].astype(np.int64)
        return build_batch(
            sequences,
            masks,
            sampling_draws=uniform,
            next_sentence_label=label,
            reads=self.reads,
        )

    def _masks(self, sequences: Sequences, drawn: Drawn) -> Masks:
        """Fresh masks of the epoch, or those that were drawn with the data."""
        kept = self.index.masks
        if kept is None:
            return draw_masks(
                sequences,
                (drawn.epoch[:, None], drawn.number[:, None]),
                settings=self.mask_settings,
                max_predictions=self.max_predictions,
                vocabulary=self.vocabulary,
                purpose=f"masks.train.{self.max_seq_length}",
            )
        offsets = np.asarray(kept.offsets)
        first, last = offsets[drawn.number], offsets[drawn.number + 1]
        row = np.repeat(np.arange(len(drawn.number)), last - first)
        place = ranges(first, last - first)
        column = kept.positions[place].astype(np.int64)
        chosen = np.zeros(sequences.input_ids.shape, dtype=bool)
        chosen[row, column] = True
        shown = sequences.input_ids.copy()
        shown[row, column] = kept.replacements[place]
        return Masks(chosen=chosen, shown=shown)


def build_batch(
    sequences: Sequences,
    masks: Masks,
    *,
    sampling_draws: Float64[ndarray, "B S"],
    next_sentence_label: Int64[ndarray, "B"],
    reads: tuple[str, ...],
) -> Batch:
    """A batch from sequences and masks: packed, the shortest sequence first, nothing padded."""
    lengths = sequences.attention_mask.sum(axis=1)
    order = sequence_order(lengths)
    is_token, chosen = sequences.attention_mask[order], masks.chosen[order]
    lengths = lengths[order]
    starts = np.cumsum(lengths) - lengths
    masked_index = np.flatnonzero(chosen[is_token])
    boundaries = _boundaries(chosen, sequences.special_tokens_mask[order], is_token)
    arrays = {
        "input_ids": masks.shown[order][is_token],
        "token_type_ids": sequences.token_type_ids[order][is_token],
        "position_ids": numbers_within(lengths),
        "first_index": starts,
        "masked_index": masked_index,
        "labels": sequences.input_ids[order][chosen],
        "sampling_draws": sampling_draws[order][chosen],
        "next_sentence_label": next_sentence_label[order],
        **boundaries,
    }
    read_index = np.unique(np.concatenate([arrays[name] for name in reads]))
    for name in reads:
        arrays[read_name(name)] = np.searchsorted(read_index, arrays[name])
    arrays["read_index"] = read_index
    num_reads = np.diff(np.searchsorted(read_index, [*starts, lengths.sum()]))
    work = Work(
        sequences=len(lengths),
        tokens=int(lengths.sum()),
        squared_lengths=int((lengths**2).sum()),
        masked=len(masked_index),
        boundaries=len(boundaries["boundary_rows"]),
        read=len(read_index),
        read_lengths=int((num_reads * lengths).sum()),
    )
    reading = make_layout(lengths, num_reads)
    layouts = {"layout": reading.of_all_rows(), "reading": reading}
    return Batch({name: _tensor(values) for name, values in arrays.items()} | layouts, work)


def read_name(index_name: str) -> str:
    """The input that says where in the hidden states read an index's positions are."""
    return f"{index_name.removesuffix('_index')}_read"


def _boundaries(
    chosen: Bool[ndarray, "B S"], is_special: Bool[ndarray, "B S"], is_token: Bool[ndarray, "B S"]
) -> dict[str, Int64[ndarray, "K"]]:
    """The masked positions whose span has text on either side, and where that text stands."""
    first, last = span_bounds(chosen)
    # The first and last column of a sequence are special, so both neighbours are in the row.
    flat_special = is_special.reshape(-1)
    rows = np.flatnonzero(~flat_special[first - 1] & ~flat_special[last + 1])
    packed = np.cumsum(is_token.reshape(-1)) - 1
    masked = np.flatnonzero(chosen)
    return {
        "boundary_rows": rows,
        "left_index": packed[first[rows] - 1],
        "right_index": packed[last[rows] + 1],
        "span_position": masked[rows] - first[rows],
    }


def _tensor(values: ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


def open_examples(
    encoding: Path, masking: Path, max_seq_length: int, split: str, *, reads: tuple[str, ...]
) -> Examples:
    """Open the examples of one length and split; `reads` as the objective says.

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
    special = facts["special_token_ids"]
    return Examples(
        store=open_token_store(encoding, "validation" if split == COMPARISON else split),
        index=index,
        max_seq_length=max_seq_length,
        special_token_ids=special,
        mask_settings=mask_settings(facts["mask_settings"]),
        max_predictions=facts["max_predictions"][str(max_seq_length)],
        vocabulary=MaskVocabulary(special["mask"], np.load(encoding / "replacement_ids.npy")),
        reads=reads,
    )


def global_batch(
    num_examples: int, step_in_phase: int, global_batch_sequences: int, *, seed: int, phase: int
) -> Drawn:
    """Examples of one update, the same for any number of processes."""
    order = Draws(seed, f"pretraining.order.{phase}")
    number = step_in_phase * global_batch_sequences + np.arange(global_batch_sequences)
    epoch = number // num_examples
    chosen = np.empty(len(number), dtype=np.int64)
    for one in np.unique(epoch):
        inside = epoch == one
        chosen[inside] = order.permute(number[inside] % num_examples, num_examples, int(one))
    return Drawn(chosen, epoch)


def micro_batches(
    drawn: Drawn, *, rank: int, world_size: int, micro_batch_sequences: int
) -> Iterator[Drawn]:
    """Yield this rank's share of a global batch in pieces of at most micro_batch_sequences."""
    share = np.array_split(np.arange(len(drawn.number)), world_size)[rank]
    pieces = max(1, -(-len(share) // micro_batch_sequences))
    for piece in np.array_split(share, pieces):
        yield Drawn(drawn.number[piece], drawn.epoch[piece])
