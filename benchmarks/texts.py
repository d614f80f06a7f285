"""The text that is measured on: Wikipedia where CLOZE_REAL_DATA names it, else Python's docs."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from stages.core.python_docs import read_python_docs
from stages.core.sentences import split_sentences
from stages.core.token_store import TokenStore
from stages.encoding.encoder import Encoder, Part
from stages.encoding.memory import WordMemory
from stages.tokenizer.training import train_vocabulary
from stages.tokenizer.wordpiece import build_tokenizer

_TRAINING_MEGABYTES = 8


@cache
def documents(megabytes: float) -> tuple[str, ...]:
    """Documents of about so many million characters; fewer where there are not as many."""
    texts: list[str] = []
    size = 0
    for text in all_documents():
        texts.append(text)
        size += len(text)
        if size >= megabytes * 1e6:
            break
    return tuple(texts)


def real_data() -> Path | None:
    """The folder of real texts and tasks that CLOZE_REAL_DATA names."""
    folder = os.environ.get("CLOZE_REAL_DATA")
    return Path(folder) if folder else None


def source() -> str:
    """What the documents are, for the report."""
    return "English Wikipedia" if real_data() else "Python's documentation"


def all_documents() -> Iterator[str]:
    """Every document that there is, streamed."""
    if folder := real_data():
        for path in sorted((folder / "corpus").glob("wikipedia-*.parquet")):
            yield from pq.read_table(path, columns=["text"]).column(0).to_pylist()
    else:
        for document in read_python_docs(("train", "validation"), workers=1):
            yield document.text


@cache
def tokenizer(vocab_size: int) -> Tokenizer:
    """An uncased WordPiece of this text, as the encoding stage uses it."""
    sample = documents(_TRAINING_MEGABYTES)
    entries = train_vocabulary(lambda: sample, vocab_size=vocab_size, lowercase=True)
    made = build_tokenizer(entries, lowercase=True)
    made.encode_special_tokens = True
    return made


@cache
def sentences(megabytes: float) -> tuple[str, ...]:
    """The sentences of the documents."""
    return tuple(s for text in documents(megabytes) for s in split_sentences(text, "en"))


def token_store(vocab_size: int, megabytes: float) -> TokenStore:
    """The encoded sentences as one document."""
    store = document_store(vocab_size, [encoder(vocab_size).encode(documents(megabytes))])
    return replace(store, documents=np.array([0, store.num_sentences]))


def encoder(vocab_size: int) -> Encoder:
    """A fresh encoder of this vocabulary, as the encoding stage makes one a worker."""
    return Encoder(WordMemory(tokenizer(vocab_size), np.dtype("<u2")), "en", 4000)


def document_store(vocab_size: int, parts: Sequence[Part]) -> TokenStore:
    """What the encoding stage stores of these parts, in memory."""
    made = tokenizer(vocab_size)
    entries = sorted(made.get_vocab(), key=made.get_vocab().get)
    return TokenStore(
        tokens=np.concatenate([part.tokens for part in parts]),
        sentences=_borders([part.sentence_lengths for part in parts]),
        documents=_borders([part.document_lengths for part in parts]),
        word_starts=np.array([not entry.startswith("##") for entry in entries]),
    )


def _borders(lengths: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
