"""Token ids of a task's examples, made once for all seeds and both systems, and their batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from tokenizers import Tokenizer
from torch import Tensor

from stages.core.errors import ArtifactError
from stages.core.random import Draws
from stages.finetuning.task import TaskExamples

_BATCHES_IN_A_BUCKET = 32  # sorted by length within it; the order of batches stays random


@dataclass(frozen=True)
class Features:
    """Encoded examples, ragged: example n is ids[offsets[n]:offsets[n + 1]]."""

    ids: Int64[ndarray, "T"]
    types: Int64[ndarray, "T"]
    offsets: Int64[ndarray, "N_1"]
    num_truncated: int

    @property
    def lengths(self) -> Int64[ndarray, "N"]:
        """Tokens of each example, special tokens counted."""
        return np.diff(self.offsets)

    def batch(self, chosen: Int64[ndarray, "B"]) -> dict[str, Tensor]:
        """Model inputs of these examples, padded to the longest of them."""
        lengths = self.lengths[chosen]
        column = np.arange(lengths.max(initial=1))
        is_token = column < lengths[:, None]
        place = np.minimum(self.offsets[chosen][:, None] + column, len(self.ids) - 1)
        return {
            "input_ids": torch.from_numpy(np.where(is_token, self.ids[place], 0)),
            "token_type_ids": torch.from_numpy(np.where(is_token, self.types[place], 0)),
            "attention_mask": torch.from_numpy(is_token),
        }


def load_tokenizer(folder: Path, max_seq_length: int) -> Tokenizer:
    """The tokenizer of a checkpoint, cutting pairs from the longer side.

    Raises: ArtifactError: the folder holds no fast tokenizer.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ArtifactError(f"{file}: missing; the start of fine-tuning carries its tokenizer")
    tokenizer: Tokenizer = Tokenizer.from_file(str(file))
    tokenizer.enable_truncation(max_seq_length, strategy="longest_first")
    tokenizer.no_padding()
    return tokenizer


def encode(examples: TaskExamples, tokenizer: Tokenizer) -> Features:
    """Encode every example with its special tokens."""
    inputs = (
        list(zip(examples.text_a, examples.text_b, strict=True))
        if examples.text_b is not None
        else examples.text_a
    )
    encodings = tokenizer.encode_batch(inputs)
    lengths = [len(encoding.ids) for encoding in encodings]
    return Features(
        ids=np.array([token for encoding in encodings for token in encoding.ids], dtype=np.int64),
        types=np.array(
            [one for encoding in encodings for one in encoding.type_ids], dtype=np.int64
        ),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        num_truncated=sum(bool(encoding.overflowing) for encoding in encodings),
    )


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
