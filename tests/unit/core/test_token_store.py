from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from stages.core.artifacts import write_manifest
from stages.core.errors import ArtifactError
from stages.core.token_store import open_token_store, token_dtype

COUNTS = {"tokens": 5, "sentences": 3, "documents": 2}


def write_store(folder: Path, **changes: Any) -> Path:
    files = {
        "train.tokens.bin": np.array([7, 8, 9, 7, 7], dtype="<u2").tobytes(),
        "train.sentences.npy": np.array([0, 2, 3, 5]),
        "train.documents.npy": np.array([0, 1, 3]),
        "word_starts.npy": np.ones(10, dtype=bool),
        **changes,
    }
    for name, value in files.items():
        if isinstance(value, bytes):
            (folder / name).write_bytes(value)
        else:
            np.save(folder / name, value)
    write_manifest(folder, "encoding", {"vocab_size": 10, "splits": {"train": COUNTS}})
    return folder


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(1, "uint16"), (65_536, "uint16"), (65_537, "uint32")]
)
def test_ids_take_two_bytes_as_long_as_they_fit(vocab_size: int, dtype: str) -> None:
    assert token_dtype(vocab_size) == dtype


def test_a_store_is_mapped_and_counted(tmp_path: Path) -> None:
    store = open_token_store(write_store(tmp_path), "train")
    assert isinstance(store.tokens, np.memmap)
    assert store.tokens.tolist() == [7, 8, 9, 7, 7]
    assert (store.num_sentences, store.num_documents) == (3, 2)
    # The first document is sentence 0 of two tokens, the second the other three.
    assert store.document_starts.tolist() == [0, 2, 5]


def test_released_pages_count_no_more_and_can_be_read_again(tmp_path: Path) -> None:
    size = 1 << 24
    files = {
        "train.tokens.bin": np.arange(size, dtype="<u2").tobytes(),
        "train.sentences.npy": np.array([0, 2, 3, size]),
    }
    folder = write_store(tmp_path, **files)
    counts = {**COUNTS, "tokens": size}
    write_manifest(folder, "encoding", {"vocab_size": 10, "splits": {"train": counts}})
    store, process = open_token_store(folder, "train"), psutil.Process()
    total = int(store.tokens.sum(dtype=np.int64))
    mapped = process.memory_info().shared
    store.release()
    assert process.memory_info().shared < mapped - size
    assert int(store.tokens.sum(dtype=np.int64)) == total
    assert store.document_starts.tolist() == [0, 2, size]


def test_an_unknown_split_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no split 'test', expected one of \['train'\]"):
        open_token_store(write_store(tmp_path), "test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.tokens.bin": b"\1\0\2"}, "train cannot be read .*multiple of the data-type"),
        ({"train.sentences.npy": b""}, "train cannot be read"),
        ({"train.documents.npy": b"garbage"}, "train cannot be read"),
        ({"train.tokens.bin": b"\1\0"}, r"\(1, 3, 2, 10\), its manifest says \(5, 3, 2, 10\)"),
        ({"train.tokens.bin": b""}, r"\(0, 3, 2, 10\), its manifest says \(5, 3, 2, 10\)"),
        ({"train.sentences.npy": np.array([0, 5])}, r"\(5, 1, 2, 10\), its manifest says"),
        ({"word_starts.npy": np.ones(4, dtype=bool)}, r"\(5, 3, 2, 4\), its manifest says"),
        ({"train.sentences.npy": np.array([0, 2, 3, 4])}, r"borders are .*\(4, 3\), expected"),
        ({"train.documents.npy": np.array([0, 1, 2])}, r"are .*\(5, 2\), expected \(5, 3\)"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        open_token_store(write_store(tmp_path, **changes), "train")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_store(tmp_path)
    (tmp_path / "train.documents.npy").unlink()
    with pytest.raises(ArtifactError, match=r"train\.documents\.npy.*; run encoding"):
        open_token_store(tmp_path, "train")
