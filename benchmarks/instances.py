"""BERT's instances with next sentences and static masks, against the authors' algorithm in Python.

Both sides begin with the token ids of sentences and end with masked instances, on one core; neither
writes. Ours are the masking stage's functions on its blocks of documents.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks import texts
from benchmarks.original import Document, OriginalSettings, create_instances
from benchmarks.paired import Result, alternate, compare
from benchmarks.pretraining import MASKS, SPECIAL_TOKEN_IDS
from stages.core.masks.settings import MaskSettings, MaskVocabulary
from stages.core.token_store import TokenStore
from stages.masking.instances import Masked, Masking, document_blocks, mask_instances
from stages.masking.pairs import PairSettings, segment_pairs

VOCAB = 8000
_LENGTH = 128
_PASSES = 10
_MAX_PREDICTIONS = 20
_LARGEST_GAP = 0.05  # one long document visited with a short target makes hundreds more
_MASKS = replace(MASKS, budget_rounding="nearest")
_PAIRS = PairSettings(max_seq_length=_LENGTH, short_sequence_probability=0.1, seed=1, split="train")


def measure_instances(megabytes: float, rounds: int, facts: dict[str, Any]) -> Result:
    """Instances per second; `facts` gets both sides' number of instances.

    Raises: ValueError: the two sides do not make as many instances.
    """
    documents = texts.documents(megabytes)
    store = texts.document_store(VOCAB, [texts.encoder(VOCAB).encode(documents)])
    lists = _as_lists(store)
    counts: list[list[int]] = [[], []]

    def original() -> float:
        started = time.perf_counter()
        made = len(create_instances(lists, _original_settings(), seed=len(counts[0])))
        return _rate(made, started, counts[0])

    def ours() -> float:
        started = time.perf_counter()
        made = sum(len(masked.examples) for masked in _all_passes(store, seed=len(counts[1])))
        return _rate(made, started, counts[1])

    pairs = alternate(original, ours, rounds)
    theirs, mine = (float(np.mean(made)) / _PASSES for made in counts)
    if abs(mine / theirs - 1) > _LARGEST_GAP:
        raise ValueError(f"{mine:.0f} instances a pass, expected about the original's {theirs:.0f}")
    facts["instances with next sentences a pass over the data"] = (
        f"{theirs:,.0f} by the original's algorithm, {mine:,.0f} by Cloze ({mine / theirs:.3f})"
    )
    return compare(
        f"BERT instances, next sentences and static masks, duplication {_PASSES}",
        pairs,
        unit="instances/s",
        target=20,
        stretch=50,
        note="more than half of it is masks, with a draw for each position of each instance; the "
        "rest is sequences, pairs, and a step for each chunk of the longest document",
    )


def masking_of(settings: MaskSettings, *, max_predictions: int | None, is_static: bool) -> Masking:
    """How the masking stage masks examples over the vocabulary of these rows."""
    return Masking(
        settings=settings,
        max_predictions=max_predictions,
        vocabulary=MaskVocabulary(SPECIAL_TOKEN_IDS["mask"], np.arange(5, VOCAB)),
        purpose="benchmark",
        is_static=is_static,
    )


def _all_passes(store: TokenStore, *, seed: int) -> Iterator[Masked]:
    pairs = replace(_PAIRS, seed=seed)
    masking = masking_of(_MASKS, max_predictions=_MAX_PREDICTIONS, is_static=True)
    for first, last in document_blocks(store):
        yield mask_instances(
            store,
            segment_pairs(store, first, last, visits=range(_PASSES), settings=pairs),
            max_seq_length=_LENGTH,
            special_token_ids=SPECIAL_TOKEN_IDS,
            masking=masking,
        )


def _original_settings() -> OriginalSettings:
    return OriginalSettings(
        max_seq_length=_LENGTH,
        duplication_factor=_PASSES,
        short_sequence_probability=_PAIRS.short_sequence_probability,
        mlm_probability=_MASKS.mlm_probability,
        max_predictions=_MAX_PREDICTIONS,
        cls=SPECIAL_TOKEN_IDS["cls"],
        sep=SPECIAL_TOKEN_IDS["sep"],
        mask=SPECIAL_TOKEN_IDS["mask"],
        words=range(5, VOCAB),
    )


def _as_lists(store: TokenStore) -> list[Document]:
    """The same sentences as the original holds them."""
    tokens, borders = store.tokens.tolist(), store.sentences.tolist()
    sentences = [tokens[first:last] for first, last in pairwise(borders)]
    return [sentences[first:last] for first, last in pairwise(store.documents.tolist())]


def _rate(made: int, started: float, counts: list[int]) -> float:
    counts.append(made)
    return made / (time.perf_counter() - started)
