"""Token ids of a task's examples, made once for all seeds and both systems, and their batches."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from tokenizers import Tokenizer
from torch import Tensor

from stages.core.artifacts import read_json
from stages.core.errors import ArtifactError
from stages.core.nn.layout import make_layout, sequence_order
from stages.core.random import Draws
from stages.core.ranges import numbers_within, ranges
from stages.finetuning.task import TaskExamples

_PADDING = ("[PAD]", "<pad>")
_BATCHES_IN_A_BUCKET = 32  # sorted by length within it; the order of batches stays random


@dataclass(frozen=True)
class Features:
    """Encoded examples, ragged: example n is ids[offsets[n]:offsets[n + 1]]."""

    ids: Int64[ndarray, "T"]
    types: Int64[ndarray, "T"]
    offsets: Int64[ndarray, "N_plus_1"]
    pad_token_id: int
    num_truncated: int

    @property
    def lengths(self) -> Int64[ndarray, "N"]:
        """Tokens of each example, special tokens counted."""
        return np.diff(self.offsets)

    def packed(self, chosen: Int64[ndarray, "B"]) -> "Packed":
        """These examples one behind the other without padding, the shortest first."""
        chosen = chosen[sequence_order(self.lengths[chosen])]
        lengths = self.lengths[chosen]
        place = ranges(self.offsets[chosen], lengths)
        arrays = {
            "input_ids": self.ids[place],
            "token_type_ids": self.types[place],
            "position_ids": numbers_within(lengths),
            "read_index": np.cumsum(lengths) - lengths,
        }
        reading = make_layout(lengths, np.ones_like(lengths))
        layouts = {"layout": reading.of_all_rows(), "reading": reading}
        return Packed(chosen, {n: torch.from_numpy(one) for n, one in arrays.items()} | layouts)

    def padded(self, chosen: Int64[ndarray, "B"]) -> dict[str, Tensor]:
        """Model inputs of these examples, padded to the longest of them."""
        lengths = self.lengths[chosen]
        column = np.arange(lengths.max(initial=1))
        is_token = column < lengths[:, None]
        place = np.minimum(self.offsets[chosen][:, None] + column, len(self.ids) - 1)
        return {
            "input_ids": torch.from_numpy(np.where(is_token, self.ids[place], self.pad_token_id)),
            "token_type_ids": torch.from_numpy(np.where(is_token, self.types[place], 0)),
            "attention_mask": torch.from_numpy(is_token),
        }


@dataclass(frozen=True)
class Packed:
    """A batch without padding, whose first tokens are read."""

    examples: Int64[ndarray, "B"]
    """The examples' numbers, in the order of the batch."""
    inputs: dict[str, Any]
    """As `stages.core.nn.body.encode` takes them."""


@dataclass(frozen=True)
class StartTokenizer:
    """The tokenizer that a start carries, and how its model pads."""

    tokenizer: Tokenizer
    pad_token_id: int
    has_token_types: bool

    def encode(self, examples: TaskExamples) -> Features:
        """Encode every example with its special tokens, in one call for all cores."""
        inputs = (
            list(zip(examples.text_a, examples.text_b, strict=True))
            if examples.text_b is not None
            else examples.text_a
        )
        encodings = self.tokenizer.encode_batch(inputs)
        return Features(
            ids=_joined([encoding.ids for encoding in encodings]),
            types=self._types(encodings),
            offsets=np.cumsum([0, *map(len, encodings)], dtype=np.int64),
            pad_token_id=self.pad_token_id,
            num_truncated=sum(bool(encoding.overflowing) for encoding in encodings),
        )

    def _types(self, encodings: list[Any]) -> Int64[ndarray, "T"]:
        """Token types; all 0 where the model knows one type only, as RoBERTa does."""
        types = _joined([encoding.type_ids for encoding in encodings])
        return types if self.has_token_types else np.zeros_like(types)


def _joined(parts: list[list[int]]) -> Int64[ndarray, "T"]:
    return np.fromiter(chain.from_iterable(parts), dtype=np.int64)


def load_tokenizer(start: Path, max_seq_length: int) -> StartTokenizer:
    """The tokenizer of a checkpoint, cutting pairs from the longer side.

    Raises: ArtifactError: the folder holds no fast tokenizer, or one of another model.
    """
    file = start / "tokenizer.json"
    if not file.is_file():
        raise ArtifactError(f"{file}: missing; the start of fine-tuning carries its tokenizer")
    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises nothing more precise
        raise ArtifactError(f"{file}: not readable as a tokenizer ({error})") from error
    config = read_json(start / "config.json")
    _require_fit(start, tokenizer, config)
    tokenizer.enable_truncation(max_seq_length, strategy="longest_first")
    tokenizer.no_padding()
    return StartTokenizer(
        tokenizer, config.get("pad_token_id") or 0, config.get("type_vocab_size", 2) > 1
    )


def _require_fit(start: Path, tokenizer: Tokenizer, config: Mapping[str, Any]) -> None:
    """The model has a row for every token, and both mean the same by padding."""
    num_tokens = 1 + max(tokenizer.get_vocab().values(), default=-1)
    if num_tokens > config["vocab_size"]:
        raise ArtifactError(
            f"{start}: its tokenizer has {num_tokens} tokens, its model {config['vocab_size']}; "
            "they do not belong together: export the encoder with its own tokenizer"
        )
    for name in _PADDING:
        pad_token_id = tokenizer.token_to_id(name)
        if pad_token_id not in (None, config.get("pad_token_id")):
            raise ArtifactError(
                f"{start}: {name} is token {pad_token_id} of its tokenizer, but the model pads "
                f"with {config.get('pad_token_id')}; export the encoder with its own tokenizer"
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
