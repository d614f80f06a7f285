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
from stages.core.ranges import numbers_within, ranges
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
    rows, column = np.arange(len(examples)), np.arange(max_seq_length, dtype=np.int32)
    lengths = np.stack([examples["a_length"], examples["b_length"]], axis=1).astype(np.int64)
    num_inner, inner = _inner_separators(store, examples)
    a_end = 1 + lengths[:, 0] + num_inner
    end = a_end + 1 + np.where(lengths[:, 1] > 0, lengths[:, 1] + 1, 0)
    separators = (
        np.concatenate([rows, rows, inner[0]]),
        np.concatenate([a_end, end - 1, inner[1]]),
    )
    attention_mask = column < end.astype(np.int32)[:, None]
    is_text = attention_mask.copy()
    is_text[:, 0] = False
    is_text[separators] = False
    starts = np.stack([examples["a_start"], examples["b_start"]], axis=1)
    input_ids = np.full(is_text.shape, special_token_ids["pad"], dtype=np.int64)
    input_ids[is_text] = store.tokens[ranges(starts.reshape(-1), lengths.reshape(-1))]
    input_ids[:, 0] = special_token_ids["cls"]
    input_ids[separators] = special_token_ids["sep"]
    word_starts = store.word_starts[input_ids]
    word_starts[:, 1] = True
    word_starts[separators[0], np.minimum(separators[1] + 1, max_seq_length - 1)] = True
    in_b = attention_mask & (column > a_end.astype(np.int32)[:, None])
    return Sequences(
        input_ids=input_ids,
        token_type_ids=in_b.astype(np.int64),
        attention_mask=attention_mask,
        special_tokens_mask=~is_text,
        word_starts=word_starts & is_text,
    )


def _inner_separators(
    store: TokenStore, examples: Shaped[ndarray, "B"]
) -> tuple[Int64[ndarray, "B"], tuple[Int64[ndarray, "I"], Int64[ndarray, "I"]]]:
    """How many separators stand inside each A, and the row and the column of each of them."""
    num_inner = np.zeros(len(examples), dtype=np.int64)
    row = np.flatnonzero(examples["b_length"] == 0)
    first = examples["a_start"][row]
    last = first + examples["a_length"][row]
    # Documents that begin inside A, behind its first token; found without an array of all of them.
    first_sentence = np.searchsorted(store.sentences, first, side="right") - 1
    last_sentence = np.searchsorted(store.sentences, last, side="left") - 1
    low = np.searchsorted(store.documents, first_sentence, side="right")
    high = np.searchsorted(store.documents, last_sentence, side="right")
    num_inner[row] = inside = np.maximum(high - low, 0)
    border = store.sentences[store.documents[ranges(low, inside)]]
    column = 1 + border - np.repeat(first, inside) + numbers_within(inside)
    return num_inner, (np.repeat(row, inside), column)
