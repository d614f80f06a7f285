"""Token ids of a task's examples, made once for all of its trainings."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from tokenizers import Tokenizer

from stages.core.artifacts import read_json, write_json
from stages.core.errors import ArtifactError
from stages.finetuning.task import TaskExamples

_PADDING = ("[PAD]", "<pad>")
_ARRAYS, _FACTS = ("ids", "types", "offsets"), ("pad_token_id", "num_truncated")


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

    def save(self, folder: Path) -> None:
        """Write the arrays so that other processes can map them."""
        folder.mkdir(parents=True)
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))
        write_json(folder / "facts.json", {name: getattr(self, name) for name in _FACTS})


def load_features(folder: Path) -> Features:
    """What `Features.save` wrote, its arrays mapped."""
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    return Features(**arrays, **read_json(folder / "facts.json"))


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
