"""Finished sequences by hand, and example indexes that are whole, dynamic or damaged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import ArtifactError
from stages.core.examples import EXAMPLE, Sequences, assemble, open_example_index
from stages.core.token_store import TokenStore

SPECIAL = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
T, F = True, False


def store_of(*documents: list[int], continuations: tuple[int, ...] = ()) -> TokenStore:
    """Documents of one sentence each; every id begins a word but for the continuations."""
    starts = np.ones(100, dtype=bool)
    starts[list(continuations)] = False
    return TokenStore(
        tokens=np.array([token for document in documents for token in document], dtype="<u2"),
        sentences=np.cumsum([0, *(len(document) for document in documents)]),
        documents=np.arange(len(documents) + 1),
        word_starts=starts,
    )


def examples_of(*rows: tuple[int, int, int, int, int]) -> np.ndarray:
    return np.array(list(rows), dtype=EXAMPLE)


def built(store: TokenStore, *rows: tuple[int, int, int, int, int], width: int) -> Sequences:
    return assemble(store, examples_of(*rows), max_seq_length=width, special_token_ids=SPECIAL)


def test_a_pair_has_a_separator_behind_each_segment_and_two_types() -> None:
    store = store_of([10, 11, 12, 13, 14], continuations=(11, 13))
    sequences = built(store, (0, 2, 3, 2, 1), width=8)
    assert sequences.input_ids.tolist() == [[2, 10, 11, 3, 13, 14, 3, 0]]
    assert sequences.token_type_ids.tolist() == [[0, 0, 0, 0, 1, 1, 1, 0]]
    assert sequences.attention_mask.tolist() == [[T, T, T, T, T, T, T, F]]
    assert sequences.special_tokens_mask.tolist() == [[T, F, F, T, F, F, T, T]]
    # 13 continues a word, but begins what is left of it in its segment.
    assert sequences.word_starts.tolist() == [[F, T, F, F, T, T, F, F]]


def test_a_single_segment_has_one_separator_and_one_type() -> None:
    sequences = built(store_of([10, 11, 12], continuations=(11,)), (1, 2, 0, 0, 0), width=5)
    assert sequences.input_ids.tolist() == [[2, 11, 12, 3, 0]]
    assert not sequences.token_type_ids.any()
    assert sequences.attention_mask.tolist() == [[T, T, T, T, F]]
    assert sequences.word_starts.tolist() == [[F, T, T, F, F]]


def test_a_separator_stands_at_each_border_of_documents_inside_a_segment() -> None:
    store = store_of([10, 11], [20], [30, 31, 32], continuations=(20, 31))
    sequences = built(store, (1, 4, 0, 0, 0), width=10)
    assert sequences.input_ids.tolist() == [[2, 11, 3, 20, 3, 30, 31, 3, 0, 0]]
    assert sequences.special_tokens_mask.tolist() == [[T, F, T, F, T, F, F, T, T, T]]
    assert sequences.attention_mask.sum() == 8
    assert not sequences.token_type_ids.any()
    # 20 continues no word of another document.
    assert sequences.word_starts.tolist() == [[F, T, F, T, F, T, F, F, F, F]]


def test_borders_at_the_ends_of_a_segment_add_nothing() -> None:
    store = store_of([10, 11], [20, 21], [30])
    sequences = built(store, (2, 2, 0, 0, 0), (0, 2, 0, 0, 0), width=4)
    assert sequences.input_ids.tolist() == [[2, 20, 21, 3], [2, 10, 11, 3]]


def test_rows_of_every_kind_stand_in_one_batch() -> None:
    store = store_of([10, 11], [20, 21])
    sequences = built(store, (0, 4, 0, 0, 0), (0, 2, 2, 2, 1), (3, 1, 0, 0, 0), width=7)
    assert sequences.input_ids.tolist() == [
        [2, 10, 11, 3, 20, 21, 3],
        [2, 10, 11, 3, 20, 21, 3],
        [2, 21, 3, 0, 0, 0, 0],
    ]
    assert sequences.token_type_ids.tolist() == [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 1],
        [0, 0, 0, 0, 0, 0, 0],
    ]


def test_no_example_gives_no_row() -> None:
    assert built(store_of([10]), width=8).input_ids.shape == (0, 8)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(0, 2**31))
def test_any_single_segment_equals_its_documents_joined_by_separators(
    sizes: list[int], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    documents = [generator.integers(5, 100, size).tolist() for size in sizes]
    total = sum(sizes)
    start = int(generator.integers(total))
    length = int(generator.integers(1, total - start + 1))
    sequences = built(store_of(*documents), (start, length, 0, 0, 0), width=total + 20)
    expected, place = [2], 0
    for document in documents:
        inside = [
            token
            for offset, token in enumerate(document)
            if start <= place + offset < start + length
        ]
        place += len(document)
        expected += [*inside, 3] if inside else []
    used = int(sequences.attention_mask.sum())
    assert sequences.input_ids[0, :used].tolist() == expected
    assert not sequences.input_ids[0, used:].any()
    assert np.array_equal(sequences.special_tokens_mask[0], sequences.input_ids[0] < 5)


def write_index(folder: Path, **changes: Any) -> Path:
    """Two examples with three masks; None leaves a file out."""
    place = folder / "64" / "train"
    place.mkdir(parents=True)
    files: dict[str, Any] = {
        "examples": examples_of((0, 5, 0, 0, 0), (5, 5, 0, 0, 0)),
        "mask_offsets": np.array([0, 1, 3]),
        "mask_positions": np.array([2, 1, 4], dtype="<u2"),
        "mask_replacements": np.array([4, 4, 9], dtype="<u2"),
        **changes,
    }
    for name, values in files.items():
        if isinstance(values, bytes):
            (place / f"{name}.npy").write_bytes(values)
        elif values is not None:
            np.save(place / f"{name}.npy", values)
    return folder


def test_static_masks_are_opened_with_their_examples(tmp_path: Path) -> None:
    index = open_example_index(write_index(tmp_path), 64, "train")
    assert len(index) == 2
    assert index.masks is not None
    assert index.masks.offsets.tolist() == [0, 1, 3]
    assert index.masks.positions.tolist() == [2, 1, 4]
    assert index.masks.replacements.tolist() == [4, 4, 9]


def test_an_index_without_masks_is_one_of_dynamic_masks(tmp_path: Path) -> None:
    none = {"mask_offsets": None, "mask_positions": None, "mask_replacements": None}
    index = open_example_index(write_index(tmp_path, **none), 64, "train")
    assert len(index) == 2
    assert index.masks is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_offsets": None}, r"train: cannot be read .*mask_offsets\.npy.*run masking again"),
        ({"mask_positions": None}, r"cannot be read .*mask_positions\.npy"),
        ({"mask_replacements": None}, r"cannot be read .*mask_replacements\.npy"),
        ({"examples": None}, r"cannot be read .*examples\.npy"),
        ({"mask_positions": b"garbage"}, "cannot be read"),
        ({"mask_offsets": np.array([0, 3])}, "masks do not fit the examples; run masking again"),
        ({"mask_offsets": np.array([0, 1, 4])}, "masks do not fit the examples"),
        ({"mask_replacements": np.array([4, 4])}, "masks do not fit the examples"),
    ],
)
def test_a_damaged_index_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        open_example_index(write_index(tmp_path, **changes), 64, "train")


def test_a_length_that_was_not_generated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"length 128; add it to masking\.lengths"):
        open_example_index(write_index(tmp_path), 128, "train")
