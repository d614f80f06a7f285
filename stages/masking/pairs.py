"""BERT's segment pairs, as ranges into the token store, for a block of documents at once.

The original builds pairs document by document in Python lists. Here all documents of a block
advance together, one chunk each per step, on arrays of positions; the result per document is the
same algorithm. Source: create_instances_from_document of google-research/bert; ALGORITHMS of the
paper's data: Devlin et al. 2019, appendix A.2. Two defects of the original are mended: a random
segment never comes from the same document, and it may come from the whole corpus, not one shard.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, Shaped
from numpy import ndarray

from stages.core.examples import EXAMPLE
from stages.core.random import Draws
from stages.core.token_store import TokenStore

_BITS = 64


@dataclass(frozen=True)
class PairSettings:
    """What decides the pairs of one sequence length."""

    max_seq_length: int
    short_sequence_probability: float
    seed: int
    split: str

    @property
    def max_num_tokens(self) -> int:
        """Text tokens in a sequence: [CLS], [SEP], [SEP] taken off."""
        return self.max_seq_length - 3

    def draws(self, purpose: str) -> Draws:
        """Draws for one purpose of this length and split."""
        return Draws(self.seed, f"pairs.{purpose}.{self.split}.{self.max_seq_length}")


@dataclass(frozen=True)
class Instances:
    """Examples with the (document, chunk) that names each, in the order of documents."""

    examples: Shaped[ndarray, "N"]
    document: Int64[ndarray, "N"]
    chunk: Int64[ndarray, "N"]


def segment_pairs(
    store: TokenStore,
    first_document: int,
    last_document: int,
    *,
    visit: int,
    settings: PairSettings,
) -> Instances:
    """All pairs of documents first_document .. last_document - 1 in pass `visit`.

    Every draw is keyed by (visit, document, chunk): blocks and workers do not show. The store
    must hold at least two documents.
    """
    document = np.arange(first_document, last_document)
    position = np.asarray(store.documents[first_document:last_document])
    end = np.asarray(store.documents[first_document + 1 : last_document + 1])
    target = _target_lengths(document, visit, settings)
    chunk = 0
    parts: list[Instances] = []
    while len(document):
        examples, advance = _next_chunk(
            store, document, position, end, target, visit=visit, chunk=chunk, settings=settings
        )
        parts.append(Instances(examples, document, np.full(len(document), chunk)))
        position = position + advance
        active = position < end
        document, position, end, target = (
            values[active] for values in (document, position, end, target)
        )
        chunk += 1
    return _in_document_order(parts)


def _target_lengths(
    document: Int64[ndarray, "D"], visit: int, settings: PairSettings
) -> Int64[ndarray, "D"]:
    """The length each document aims at in this pass: mostly the full one, sometimes shorter."""
    full = settings.max_num_tokens
    is_short = (
        settings.draws("is_short").uniform(visit, document) < settings.short_sequence_probability
    )
    short = 2 + settings.draws("short").integers(full - 1, visit, document)
    return np.where(is_short, short, full)


def _next_chunk(
    store: TokenStore,
    document: Int64[ndarray, "D"],
    position: Int64[ndarray, "D"],
    end: Int64[ndarray, "D"],
    target: Int64[ndarray, "D"],
    *,
    visit: int,
    chunk: int,
    settings: PairSettings,
) -> tuple[Shaped[ndarray, "D"], Int64[ndarray, "D"]]:
    """One pair per document from its sentence `position` on, and the sentences it used up."""
    sentences = store.sentences
    stop = np.minimum(np.searchsorted(sentences, sentences[position] + target), end)
    size = stop - position
    key = (visit, document, chunk)
    split_at = 1 + settings.draws("split").integers(np.maximum(size - 1, 1), *key)
    a_end = position + np.where(size == 1, 1, split_at)
    is_random = (size == 1) | (settings.draws("is_random").uniform(*key) < 0.5)
    a_start = sentences[position]
    a_length = sentences[a_end] - a_start
    random_first, random_stop = _random_segments(
        store, document, target - a_length, key=key, settings=settings
    )
    b_first = sentences[np.where(is_random, random_first, np.minimum(a_end, stop - 1))]
    b_length = sentences[np.where(is_random, random_stop, stop)] - b_first
    examples = _truncate(a_start, a_length, b_first, b_length, key=key, settings=settings)
    examples["next_sentence_label"] = is_random
    # A random next segment puts the unused sentences back.
    return examples, np.where(is_random, a_end - position, size)


def _random_segments(
    store: TokenStore,
    document: Int64[ndarray, "D"],
    target: Int64[ndarray, "D"],
    *,
    key: tuple[int | Int64[ndarray, "D"], ...],
    settings: PairSettings,
) -> tuple[Int64[ndarray, "D"], Int64[ndarray, "D"]]:
    """First and last + 1 sentence of a segment of another document, at least `target` tokens."""
    other = settings.draws("document").integers(store.num_documents - 1, *key)
    other = other + (other >= document)
    low, high = store.documents[other], store.documents[other + 1]
    first = low + settings.draws("sentence").integers(high - low, *key)
    wanted = store.sentences[first] + np.maximum(target, 1)
    return first, np.minimum(np.searchsorted(store.sentences, wanted), high)


def _truncate(
    a_start: Int64[ndarray, "D"],
    a_length: Int64[ndarray, "D"],
    b_start: Int64[ndarray, "D"],
    b_length: Int64[ndarray, "D"],
    *,
    key: tuple[int | Int64[ndarray, "D"], ...],
    settings: PairSettings,
) -> Shaped[ndarray, "D"]:
    """Shorten pairs to max_num_tokens: one token at a time off the longer (tie: B), front or back.

    The lengths that remain have a closed form; how many tokens go from the front is binomial.
    """
    limit = settings.max_num_tokens
    a_kept = np.minimum(a_length, np.maximum(limit - b_length, (limit + 1) // 2))
    b_kept = np.minimum(b_length, limit - a_kept)
    draws = settings.draws("truncate")
    examples = np.zeros(len(a_start), dtype=EXAMPLE)
    examples["a_start"] = a_start + _coin_tosses(a_length - a_kept, draws, (*key, 0))
    examples["b_start"] = b_start + _coin_tosses(b_length - b_kept, draws, (*key, 1))
    examples["a_length"], examples["b_length"] = a_kept, b_kept
    return examples


def _coin_tosses(
    tosses: Int64[ndarray, "D"], draws: Draws, key: tuple[int | Int64[ndarray, "D"], ...]
) -> Int64[ndarray, "D"]:
    """Heads among so many fair tosses: the ones among as many random bits."""
    heads = np.zeros(len(tosses), dtype=np.int64)
    for word in range(-(-int(tosses.max(initial=0)) // _BITS)):
        used = np.clip(tosses - word * _BITS, 0, _BITS)
        bits = draws.bits(*key, word)
        shifted = np.where(
            used == 0, np.uint64(0), bits >> (_BITS - np.maximum(used, 1)).astype(np.uint64)
        )
        heads += np.bitwise_count(shifted).astype(np.int64)
    return heads


def _in_document_order(parts: list[Instances]) -> Instances:
    """Join the steps, and sort by document, then chunk."""
    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return Instances(np.zeros(0, dtype=EXAMPLE), empty, empty)
    document = np.concatenate([part.document for part in parts])
    order: Int64[ndarray, "N"] = np.argsort(document, kind="stable")
    return Instances(
        np.concatenate([part.examples for part in parts])[order],
        document[order],
        np.concatenate([part.chunk for part in parts])[order],
    )


def is_within_one_document(store: TokenStore, pairs: Instances) -> Bool[ndarray, "N"]:
    """Whether segment B lies in the same document as segment A."""
    sentence = np.searchsorted(store.sentences, pairs.examples["b_start"], side="right") - 1
    owner = np.searchsorted(store.documents, sentence, side="right") - 1
    return owner == pairs.document
