"""The encoding stage: documents -> token store, in parallel, streamed, the same on any machine.

Blocks of documents of about a megabyte are read and encoded by workers and written in corpus
order, so that neither blocks nor workers show. In memory: a block and its row group a worker. The
text is tokenised here and nowhere else; tokenising is the whole cost.
"""

import logging
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped
from numpy import ndarray

from stages.core.artifacts import (
    content_hash,
    read_manifest,
    require_equal,
    staged_directory,
    write_manifest,
)
from stages.core.errors import ArtifactError
from stages.core.logs import fields
from stages.core.npy import NpyWriter
from stages.core.progress import Progress
from stages.core.shards import kept_shards
from stages.core.token_store import SPLITS, open_token_store, token_dtype
from stages.core.tracking.journal import RunJournal
from stages.core.word_borders import find_word_starts
from stages.encoding.blocks import Block, BlockReader, document_blocks
from stages.encoding.encoder import Encoder, Part, Tally, load_tokenizer, make_encoder
from stages.encoding.params import EncodingParams
from stages.encoding.vocabulary import entries_by_id, find_replacements

log = logging.getLogger(__name__)
_SAMPLE_SENTENCES = 3
_SAMPLE_TOKENS = 60
_worker: tuple[BlockReader, Encoder] | None = None  # each process's own: see `start_worker`


def run(params: EncodingParams, paths: Mapping[str, Path], journal: RunJournal) -> None:
    """Encode every split of the corpus into `paths["out"]`.

    Raises: ArtifactError: an input is missing, damaged or does not fit, or a split holds no text.
    StorageError: the disk is full.
    """
    corpus, tokenizer = paths["corpus"], paths["tokenizer"]
    documents = read_manifest(corpus, "corpus")
    vocabulary = read_manifest(tokenizer, "tokenizer")
    facts = _vocabulary_facts(vocabulary, tokenizer)
    entries = entries_by_id(load_tokenizer(tokenizer))
    require_equal(f"{tokenizer}: vocab_size", len(entries), facts["vocab_size"], "run it again")
    word_starts = find_word_starts(entries, facts["tokenizer_kind"], facts["special_tokens"])
    replacement_ids = find_replacements(entries, facts["special_token_ids"].values())
    worker = (tokenizer, documents["language"], params.max_sentence_characters)
    splits: dict[str, dict[str, int]] = {}
    started = time.monotonic()
    inputs = {"corpus": documents["content"], "tokenizer": vocabulary["content"]}
    with kept_shards("encoding", params, inputs) as shards, staged_directory(paths["out"]) as out:
        _save(out / "word_starts.npy", word_starts)
        _save(out / "replacement_ids.npy", replacement_ids)
        for split in SPLITS:
            plan = document_blocks(corpus, split)
            parts = shards.map(encode_block, plan, initializer=start_worker, initargs=worker)
            total = documents["documents"][split]
            splits[split] = _write_split(out, split, parts, word_starts, total)
        properties = {
            **facts,
            "language": documents["language"],
            "max_sentence_characters": params.max_sentence_characters,
            "splits": splits,
        }
        write_manifest(out, "encoding", properties)
        _log_sample(out, tokenizer)
    _report(splits, time.monotonic() - started, journal)


def _save(path: Path, values: Shaped[ndarray, "n"]) -> None:
    with NpyWriter(path, values.dtype) as file:  # np.save's error of a full disk has no errno
        file.append(values)


def _vocabulary_facts(manifest: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What the store's readers need to know of the vocabulary."""
    return {
        "tokenizer_kind": manifest["kind"],
        "special_tokens": manifest["special_tokens"],
        "vocab_size": manifest["vocab_size"],
        "dtype": token_dtype(manifest["vocab_size"]).name,
        "special_token_ids": manifest["special_token_ids"],
        "tokenizer_hash": content_hash(folder / "tokenizer.json"),
    }


def start_worker(folder: Path, language: str, max_sentence_characters: int) -> None:
    """Give this process its encoder, on one thread: the processes are the parallelism."""
    global _worker  # noqa: PLW0603  the process pool's way to hand state to a worker
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _worker = BlockReader(), make_encoder(folder, language, max_sentence_characters)


def encode_block(block: Block) -> Part:
    """Encode one block in a worker that `start_worker` has made ready."""
    assert _worker is not None
    reader, encoder = _worker
    return encoder.encode(reader.texts(block))


def _write_split(
    out: Path, split: str, parts: Iterable[Part], word_starts: Bool[ndarray, "V"], total: int
) -> dict[str, int]:
    """Append the parts to the split's three files; returns its counts for the manifest."""
    tally, num_tokens, num_sentences, num_documents, num_words = Tally(), 0, 0, 0, 0
    with ExitStack() as stack:
        tokens = stack.enter_context((out / f"{split}.tokens.bin").open("wb"))
        sentences, documents = (
            stack.enter_context(NpyWriter(out / f"{split}.{name}.npy", np.dtype("<i8")))
            for name in ("sentences", "documents")
        )
        sentences.append(np.zeros(1, dtype=np.int64))
        documents.append(np.zeros(1, dtype=np.int64))
        progress = stack.enter_context(Progress(split, total=total, unit="document"))
        for part in parts:
            tokens.write(part.tokens.tobytes())
            sentences.append(num_tokens + np.cumsum(part.sentence_lengths))
            documents.append(num_sentences + np.cumsum(part.document_lengths))
            num_tokens += len(part.tokens)
            num_sentences += len(part.sentence_lengths)
            num_documents += len(part.document_lengths)
            num_words += int(word_starts[part.tokens].sum())
            tally.add(part.tally)
            progress.advance(len(part.document_lengths) + part.tally.dropped_documents)
    if not num_tokens:
        raise ArtifactError(
            f"corpus: {split} holds no text that gives a token ({tally.dropped_documents} "
            "documents dropped), expected at least one sentence; give the corpus more documents"
        )
    counts = {
        "tokens": num_tokens,
        "sentences": num_sentences,
        "documents": num_documents,
        "words": num_words,
        **asdict(tally),
    }
    log.info("%s", fields("encoded", split=split, **counts))
    return counts


def _log_sample(out: Path, tokenizer: Path) -> None:
    """Log the beginning of the first document as a person would look at it first."""
    store = open_token_store(out, SPLITS[0])
    last = min(_SAMPLE_SENTENCES, int(store.documents[1]))
    decoder = load_tokenizer(tokenizer)
    for start, end in pairwise(store.sentences[: last + 1].tolist()):
        ids = store.tokens[start : min(end, start + _SAMPLE_TOKENS)].tolist()
        log.info("%s", fields("sample", tokens=end - start, ids=ids[:8], text=decoder.decode(ids)))


def _report(splits: Mapping[str, Mapping[str, int]], seconds: float, journal: RunJournal) -> None:
    """Log and record what was done and how fast; no speed goes into the artefact."""
    rate = sum(counts["bytes"] for counts in splits.values()) / seconds
    log.info("%s", fields("finished", seconds=seconds, megabytes_per_second=rate / 1e6))
    values = {
        f"{split}/{name}": value
        for split, counts in splits.items()
        for name, value in counts.items()
    }
    journal.metrics({**values, "bytes_per_second": rate})
