"""The example index: pre-training examples as ranges into the token store, never as text.

Written by `masking`, read by `pretraining`. For each sequence length L of `masking.lengths` and
each split, the folder `<L>/<split>/` holds:

    examples.npy          (N) EXAMPLE: segments A and B as (start, length) in the tokens, and
                          next_sentence_label (1 = random); b_length 0 means a single sequence
    mask_offsets.npy      (N + 1) int64: where each example's masked positions start
    mask_positions.npy    (M) uint16: positions in the finished sequence, specials counted
    mask_replacements.npy (M) uint16/uint32: the id that stands there instead; the label is the
                          stored token

The three mask files are there for static masks only. The finished sequence of an example is
`[CLS] A [SEP] B [SEP]`, or `[CLS] A [SEP]` where b_length is 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, Integer, Shaped
from numpy import ndarray

from stages.core.errors import ArtifactError
from stages.core.token_store import TokenStore

EXAMPLE = np.dtype(
    [
        ("a_start", "<i8"),
        ("a_length", "<u2"),
        ("b_start", "<i8"),
        ("b_length", "<u2"),
        ("next_sentence_label", "u1"),
    ]
)


@dataclass(frozen=True)
class ExampleIndex:
    """The examples of one length and split, memory-mapped."""

    examples: Shaped[ndarray, "N"]
    mask_offsets: Int64[ndarray, "N_1"]
    mask_positions: Integer[ndarray, "M"]
    mask_replacements: Integer[ndarray, "M"]

    def __len__(self) -> int:
        return len(self.examples)


def open_example_index(folder: Path, max_seq_length: int, split: str) -> ExampleIndex:
    """Map the example index of one sequence length and split.

    Raises: ArtifactError: that length was not generated, or a file is missing or cut short.
    """
    place = folder / str(max_seq_length) / split
    if not place.is_dir():
        raise ArtifactError(
            f"{place}: no examples of length {max_seq_length}; add it to masking.lengths"
        )
    try:
        index = ExampleIndex(
            **{
                name: np.load(place / f"{name}.npy", mmap_mode="r")
                for name in ("examples", "mask_offsets", "mask_positions", "mask_replacements")
            }
        )
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{place}: cannot be read ({error}); run masking again") from error
    if len(index.mask_offsets) != len(index) + 1 or index.mask_offsets[-1] != len(
        index.mask_positions
    ):
        raise ArtifactError(f"{place}: masks do not fit the examples; run masking again")
    return index


@dataclass(frozen=True)
class Sequences:
    """Finished sequences, padded to one length: what a model is given, before masking."""

    input_ids: Int64[ndarray, "B S"]
    token_type_ids: Int64[ndarray, "B S"]
    attention_mask: Bool[ndarray, "B S"]
    special_tokens_mask: Bool[ndarray, "B S"]
    word_starts: Bool[ndarray, "B S"]


def assemble(
    store: TokenStore,
    examples: Shaped[ndarray, "B"],
    *,
    max_seq_length: int,
    special_token_ids: Mapping[str, int],
) -> Sequences:
    """Build `[CLS] A [SEP] B [SEP]` (or `[CLS] A [SEP]`) for each example, padded at the end.

    The first token of a segment counts as a word start, also where truncation cut its word.
    Padding counts as special. Token types are 0 for `[CLS] A [SEP]` and padding, 1 for `B [SEP]`.
    """
    column = np.arange(max_seq_length)
    a_length = examples["a_length"].astype(np.int64)[:, None]
    b_length = examples["b_length"].astype(np.int64)[:, None]
    has_b = b_length > 0
    b_first = a_length + 2
    end = np.where(has_b, b_first + b_length + 1, b_first)
    in_a = (column >= 1) & (column <= a_length)
    in_b = has_b & (column >= b_first) & (column < b_first + b_length)
    place = np.where(
        in_a,
        examples["a_start"][:, None] + column - 1,
        examples["b_start"][:, None] + column - b_first,
    )
    is_text = in_a | in_b
    input_ids = np.full(place.shape, special_token_ids["pad"], dtype=np.int64)
    input_ids[is_text] = store.tokens[place[is_text]]
    input_ids[:, 0] = special_token_ids["cls"]
    is_separator = (column == a_length + 1) | (has_b & (column == end - 1))
    input_ids[is_separator] = special_token_ids["sep"]
    starts = store.word_starts[input_ids] | (column == 1) | (column == b_first)
    return Sequences(
        input_ids=input_ids,
        token_type_ids=(has_b & (column >= b_first) & (column < end)).astype(np.int64),
        attention_mask=column < end,
        special_tokens_mask=~is_text,
        word_starts=starts & is_text,
    )
