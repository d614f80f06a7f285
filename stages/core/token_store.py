"""The token store: a corpus as token ids, stored once, memory-mapped, with its borders.

Written by `encoding`, read by `masking` and `pretraining`. A folder of it holds, per split
(`train`, `validation`):

    <split>.tokens.bin      token ids, uint16 up to 65,536 words and uint32 above, in corpus order
    <split>.sentences.npy   (num_sentences + 1) int64: where each sentence starts in the tokens
    <split>.documents.npy   (num_documents + 1) int64: where each document starts in the sentences
    word_starts.npy         (vocab_size) bool: whether a token id begins a word
    replacement_ids.npy     int64: the ids that a random replacement may be (no special, no unused)

No sentence and no document is empty. Special tokens are not stored. The word border is a property
of the token id (WordPiece's `##`, byte-level BPE's space), so it costs nothing per token.
"""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Integer
from numpy import ndarray

from stages.core.artifacts import read_manifest
from stages.core.errors import ArtifactError

SPLITS = ("train", "validation")


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest unsigned integer type that holds every id."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


@dataclass(frozen=True)
class TokenStore:
    """One split of the store, memory-mapped."""

    tokens: Integer[ndarray, "T"]
    sentences: Int64[ndarray, "num_sentences_1"]
    documents: Int64[ndarray, "num_documents_1"]
    word_starts: Bool[ndarray, "V"]

    @cached_property
    def document_starts(self) -> Int64[ndarray, "num_documents_1"]:
        """Where each document starts in the tokens, and where the last one ends."""
        return np.asarray(self.sentences[self.documents])

    def release(self) -> None:
        """Let go of the mapped pages: they else count as this process's memory until it ends.

        What is looked at again comes from the page cache.
        """
        for array in (self.tokens, self.sentences, self.documents):
            if isinstance(array.base, mmap.mmap):
                array.base.madvise(mmap.MADV_DONTNEED)

    @property
    def num_sentences(self) -> int:
        """Sentences in this split."""
        return len(self.sentences) - 1

    @property
    def num_documents(self) -> int:
        """Documents in this split."""
        return len(self.documents) - 1


def open_token_store(folder: Path, split: str) -> TokenStore:
    """Map one split of an encoding artefact.

    Raises: ArtifactError: a file is missing, cut short, or does not fit the manifest.
    """
    manifest = read_manifest(folder, "encoding")
    if split not in manifest["splits"]:
        raise ArtifactError(
            f"{folder}: no split {split!r}, expected one of {sorted(manifest['splits'])}"
        )
    dtype = token_dtype(manifest["vocab_size"])
    try:
        store = TokenStore(
            tokens=_map_tokens(folder / f"{split}.tokens.bin", dtype),
            sentences=np.load(folder / f"{split}.sentences.npy", mmap_mode="r"),
            documents=np.load(folder / f"{split}.documents.npy", mmap_mode="r"),
            word_starts=np.load(folder / "word_starts.npy"),
        )
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{folder}: {split} cannot be read ({error}); run encoding") from error
    _check(folder, split, store, manifest)
    return store


def _check(folder: Path, split: str, store: TokenStore, manifest: Mapping[str, Any]) -> None:
    """Refuse files that do not fit the manifest or each other, by their sizes and last borders."""
    counts, vocab_size = manifest["splits"][split], manifest["vocab_size"]
    found = (len(store.tokens), store.num_sentences, store.num_documents, len(store.word_starts))
    expected = (counts["tokens"], counts["sentences"], counts["documents"], vocab_size)
    if found != expected:
        raise ArtifactError(
            f"{folder}: {split} holds (tokens, sentences, documents, vocabulary) {found}, "
            f"its manifest says {expected}; run encoding again"
        )
    last = (int(store.sentences[-1]), int(store.documents[-1]))
    if last != (len(store.tokens), store.num_sentences):
        raise ArtifactError(
            f"{folder}: {split}'s last borders are (token, sentence) {last}, expected "
            f"{(len(store.tokens), store.num_sentences)}; run encoding again"
        )


def _map_tokens(path: Path, dtype: np.dtype[Any]) -> Integer[ndarray, "T"]:
    if path.stat().st_size == 0:
        return np.zeros(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r")
