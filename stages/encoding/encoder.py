"""Text to token ids with sentence and document borders: the work of one chunk of documents.

In: documents' texts. Out: one `Part`: their ids one after the other, and how many ids each sentence
and how many sentences each document has. Sentences and documents without a token are dropped and
counted. "[MASK]" in a text is text: no special token comes out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Integer
from numpy import ndarray
from tokenizers import Tokenizer

from stages.core.errors import ArtifactError
from stages.core.sentences import split_sentences
from stages.core.token_store import token_dtype
from stages.encoding.memory import Encoded, WordMemory

_BATCH_SENTENCES = 8000


@dataclass
class Tally:
    """What was read and what was not kept."""

    bytes: int = 0  # UTF-8 bytes of the documents' texts
    whitespace_words: int = 0  # words between white space: they do not depend on the tokenizer
    cut_sentences: int = 0  # sentences over the limit
    dropped_sentences: int = 0  # sentences without a token
    dropped_documents: int = 0  # documents without a sentence

    def add(self, other: "Tally") -> None:
        """Add another tally to this one."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True)
class Part:
    """The encoded documents of one chunk."""

    tokens: Integer[ndarray, "T"]
    sentence_lengths: Int64[ndarray, "num_sentences"]
    document_lengths: Int64[ndarray, "num_documents"]
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True)
class Encoder:
    """A tokenizer with its memory, and the rules around it."""

    memory: WordMemory
    language: str
    max_sentence_characters: int

    def encode(self, texts: Sequence[str]) -> Part:
        """Encode documents; the ids are the tokenizer's for each sentence by itself."""
        tally = Tally(bytes=sum(len(text.encode()) for text in texts))
        documents = [self._sentences(text, tally) for text in texts]
        sentences = list(chain.from_iterable(documents))
        tokens, lengths, words = self._encode(sentences)
        owners = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
        kept = lengths > 0
        per_document = np.bincount(owners[kept], minlength=len(documents))
        tally.dropped_sentences = int((~kept).sum())
        tally.whitespace_words = int(words[kept].sum())
        tally.dropped_documents = int((per_document == 0).sum())
        return Part(tokens, lengths[kept], per_document[per_document > 0], tally)

    def _encode(self, sentences: Sequence[str]) -> Encoded:
        """The ids of all sentences, in batches that bound the memory."""
        batches = [
            self.memory.encode(sentences[first : first + _BATCH_SENTENCES])
            for first in range(0, max(1, len(sentences)), _BATCH_SENTENCES)
        ]
        return Encoded(*(np.concatenate(columns) for columns in zip(*batches, strict=True)))

    def _sentences(self, text: str, tally: Tally) -> list[str]:
        limit = self.max_sentence_characters
        sentences: list[str] = []
        for sentence in split_sentences(text, self.language):
            if len(sentence) <= limit:
                sentences.append(sentence)
            else:
                tally.cut_sentences += 1
                sentences.extend(cut_run(sentence, limit))
        return sentences


def cut_run(text: str, limit: int) -> Iterator[str]:
    """Cut a text into pieces of at most `limit` characters, at the last space of each if any."""
    start = 0
    while len(text) - start > limit:
        end = text.rfind(" ", start + 1, start + limit + 1)
        end = start + limit if end < 0 else end
        yield text[start:end]
        start = end + (text[end] == " ")
    yield text[start:]


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of an artefact, set to take special tokens in a text for text.

    Raises: ArtifactError: `tokenizer.json` is missing or damaged.
    """
    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower one
        raise ArtifactError(f"{path}: not readable ({error}); run tokenizer again") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def make_encoder(folder: Path, language: str, max_sentence_characters: int) -> Encoder:
    """The encoder of a tokenizer artefact."""
    tokenizer = load_tokenizer(folder)
    dtype = token_dtype(tokenizer.get_vocab_size(with_added_tokens=True))
    return Encoder(WordMemory(tokenizer, dtype), language, max_sentence_characters)
