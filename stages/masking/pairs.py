"""BERT's segment pairs, as ranges into the token store, for a block of documents at once.

The original builds pairs document by document in Python lists. Here all documents of a block, in
all their passes over the data, advance together, one chunk each per step, on arrays of positions;
the result per document is the same algorithm. Source: create_instances_from_document of
google-research/bert; Devlin et al. 2019, appendix A.2. Two defects of the original are mended: a
random segment never comes from the same document, and it may come from the whole corpus, not one
shard.
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
    """Examples with the (visit, document, chunk) that names each, in this order."""

    examples: Shaped[ndarray, "N"]
    visit: Int64[ndarray, "N"]
    """The pass over the data that the example is of."""
    document: Int64[ndarray, "N"]
    chunk: Int64[ndarray, "N"]


def segment_pairs(
    store: TokenStore,
    first_document: int,
    last_document: int,
    *,
    visits: range,
    settings: PairSettings,
) -> Instances:
    """All pairs of documents first_document .. last_document - 1 in each pass of `visits`.

    Every draw is keyed by (visit, document, chunk): blocks and workers do not show. The store
    must hold at least two documents.
    """
    chunks = _chunks(store, visits_of_documents(visits, first_document, last_document), settings)
    sentences, key = store.sentences, (chunks.visit, chunks.document, chunks.number)
    a_start = sentences[chunks.begin]
    a_length = sentences[chunks.a_end] - a_start
    random_first, random_stop = _random_segments(
        store, chunks.document, chunks.target - a_length, key=key, settings=settings
    )
    is_random = chunks.is_random
    b_first = sentences[
        np.where(is_random, random_first, np.minimum(chunks.a_end, chunks.stop - 1))
    ]
    b_length = sentences[np.where(is_random, random_stop, chunks.stop)] - b_first
    examples = _truncate(a_start, a_length, b_first, b_length, key=key, settings=settings)
    examples["next_sentence_label"] = is_random
    return Instances(examples, *key)


def visits_of_documents(
    visits: range, first_document: int, last_document: int
) -> tuple[Int64[ndarray, "D"], Int64[ndarray, "D"]]:
    """The visit and the document of every visit of a block's documents, visit by visit."""
    documents = np.arange(first_document, last_document)
    return np.repeat(np.array(visits), len(documents)), np.tile(documents, len(visits))


def target_lengths(
    names: tuple[Int64[ndarray, "D"], Int64[ndarray, "D"]], settings: PairSettings, *, room: int
) -> Int64[ndarray, "D"]:
    """The length each visit of a document aims at: mostly the whole room, sometimes shorter."""
    is_short = settings.draws("is_short").uniform(*names) < settings.short_sequence_probability
    short = 2 + settings.draws("short").integers(room - 1, *names)
    return np.where(is_short, short, room)


@dataclass(frozen=True)
class _Chunks:
    """Runs of sentences, each cut into what becomes segment A and the rest, in order of names."""

    visit: Int64[ndarray, "N"]
    document: Int64[ndarray, "N"]
    number: Int64[ndarray, "N"]
    """The place among the chunks of its visit to its document, from 0."""
    begin: Int64[ndarray, "N"]
    """The first sentence."""
    a_end: Int64[ndarray, "N"]
    """The sentence behind segment A."""
    stop: Int64[ndarray, "N"]
    """The sentence behind the chunk."""
    is_random: Bool[ndarray, "N"]
    """Whether a segment of another document follows A."""
    target: Int64[ndarray, "N"]
    """Tokens that a pair aims at."""


def _chunks(
    store: TokenStore,
    names: tuple[Int64[ndarray, "D"], Int64[ndarray, "D"]],
    settings: PairSettings,
) -> _Chunks:
    """The chunks of every visit, one each a step.

    Where a chunk begins depends on the one before it, so only what decides that is in the loop.
    """
    sentences = store.sentences
    targets = target_lengths(names, settings, room=settings.max_num_tokens)
    position, end = store.documents[names[1]], store.documents[names[1] + 1]
    split, coin = (settings.draws(purpose).at(*names) for purpose in ("split", "is_random"))
    owner, target = np.arange(len(targets)), targets
    parts: list[tuple[ndarray, ...]] = []
    while len(owner):
        number = len(parts)
        stop = np.minimum(np.searchsorted(sentences, sentences[position] + target), end)
        size = stop - position
        a_size = np.where(size == 1, 1, 1 + split.integers(np.maximum(size - 1, 1), number))
        is_random = (size == 1) | (coin.uniform(number) < 0.5)
        a_end = position + a_size
        parts.append((owner, np.full(len(owner), number), position, a_end, stop, is_random))
        position = np.where(is_random, a_end, stop)  # a random segment puts the rest back
        active = position < end
        if not active.all():
            owner, position, end, target = (v[active] for v in (owner, position, end, target))
            split, coin = split[active], coin[active]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(columns[0], kind="stable")  # chunks of an owner ascend already
    owner, numbers, begin, a_end, stop, is_random = (column[order] for column in columns)
    visit, document = (name[owner] for name in names)
    return _Chunks(visit, document, numbers, begin, a_end, stop, is_random, targets[owner])


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


def is_within_one_document(store: TokenStore, pairs: Instances) -> Bool[ndarray, "N"]:
    """Whether segment B lies in the same document as segment A."""
    sentence = np.searchsorted(store.sentences, pairs.examples["b_start"], side="right") - 1
    owner = np.searchsorted(store.documents, sentence, side="right") - 1
    return owner == pairs.document
