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
`[CLS] A [SEP] B [SEP]`, or `[CLS] A [SEP]` where b_length is 0; where A runs over the border of a
document, a further [SEP] stands at the border. For the shortest length `comparison/` holds windows
of validation text with masks that no setting changes.
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
class StaticMasks:
    """Masks that were drawn with the data, memory-mapped."""

    offsets: Int64[ndarray, "N_1"]
    positions: Integer[ndarray, "M"]
    replacements: Integer[ndarray, "M"]


@dataclass(frozen=True)
class ExampleIndex:
    """The examples of one length and split, memory-mapped."""

    examples: Shaped[ndarray, "N"]
    masks: StaticMasks | None
    """None for dynamic masks: they are drawn while training."""

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
    parts = ("offsets", "positions", "replacements")
    is_static = any((place / f"mask_{part}.npy").exists() for part in parts)
    try:
        examples = np.load(place / "examples.npy", mmap_mode="r")
        arrays = {
            part: np.load(place / f"mask_{part}.npy", mmap_mode="r") for part in parts if is_static
        }
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{place}: cannot be read ({error}); run masking again") from error
    if not is_static:
        return ExampleIndex(examples, None)
    offsets, num_masks = arrays["offsets"], len(arrays["positions"])
    found = (len(offsets), len(arrays["replacements"]))
    if found != (len(examples) + 1, num_masks) or offsets[-1] != num_masks:
        raise ArtifactError(f"{place}: masks do not fit the examples; run masking again")
    return ExampleIndex(examples, StaticMasks(**arrays))


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

    A single segment that runs over borders of documents gets a [SEP] at each: a_length counts text.
    The first token of a segment counts as a word start, also where truncation cut its word.
    Padding counts as special. Token types are 0 for `[CLS] A [SEP]` and padding, 1 for `B [SEP]`.
    """
    column = np.arange(max_seq_length)
    a_length = examples["a_length"].astype(np.int64)[:, None]
    b_length = examples["b_length"].astype(np.int64)[:, None]
    has_b = b_length > 0
    num_before = _separators_before(store, examples, max_seq_length)
    a_end = 1 + a_length + num_before[:, -1:]
    b_first = a_end + 1
    end = np.where(has_b, b_first + b_length + 1, b_first)
    is_inner = np.diff(num_before, axis=1, prepend=0) > 0
    in_a = (column >= 1) & (column < a_end) & ~is_inner
    in_b = has_b & (column >= b_first) & (column < b_first + b_length)
    place = np.where(
        in_a,
        examples["a_start"][:, None] + column - 1 - num_before,
        examples["b_start"][:, None] + column - b_first,
    )
    is_text = in_a | in_b
    input_ids = np.full(place.shape, special_token_ids["pad"], dtype=np.int64)
    input_ids[is_text] = store.tokens[place[is_text]]
    input_ids[:, 0] = special_token_ids["cls"]
    is_separator = (column == a_end) | is_inner | (has_b & (column == end - 1))
    input_ids[is_separator] = special_token_ids["sep"]
    follows_separator = np.zeros_like(is_text)
    follows_separator[:, 1:] = is_separator[:, :-1]
    starts = store.word_starts[input_ids] | (column == 1) | follows_separator
    return Sequences(
        input_ids=input_ids,
        token_type_ids=(has_b & (column >= b_first) & (column < end)).astype(np.int64),
        attention_mask=column < end,
        special_tokens_mask=~is_text,
        word_starts=starts & is_text,
    )


def _separators_before(
    store: TokenStore, examples: Shaped[ndarray, "B"], max_seq_length: int
) -> Int64[ndarray, "B S"]:
    """How many inner separators stand at or before each column, counted up to that column."""
    count = np.zeros((len(examples), max_seq_length), dtype=np.int64)
    if (examples["b_length"] > 0).all():
        return count
    first = examples["a_start"]
    last = first + examples["a_length"]
    # Documents that begin inside A, behind its first token; found without an array of all of them.
    first_sentence = np.searchsorted(store.sentences, first, side="right") - 1
    last_sentence = np.searchsorted(store.sentences, last, side="left") - 1
    low = np.searchsorted(store.documents, first_sentence, side="right")
    high = np.searchsorted(store.documents, last_sentence, side="right")
    num_inner = np.where(examples["b_length"] > 0, 0, np.maximum(high - low, 0))
    if not num_inner.any():
        return count
    row = np.repeat(np.arange(len(examples)), num_inner)
    number = np.arange(len(row)) - np.repeat(np.cumsum(num_inner) - num_inner, num_inner)
    border = store.sentences[store.documents[low[row] + number]]
    count[row, 1 + border - first[row] + number] = 1
    return np.cumsum(count, axis=1)
