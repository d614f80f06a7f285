"""Text to token ids, masks and ready examples against what run_mlm does, on one core."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import datasets
import numpy as np
from torch.utils.data import DataLoader
from transformers import BertTokenizerFast, DataCollatorForLanguageModeling

from benchmarks import texts
from benchmarks.instances import VOCAB, masking_of
from benchmarks.paired import Result, alternate, compare
from benchmarks.pretraining import (
    LENGTH,
    MASKS,
    SEQUENCES,
    SPECIAL_TOKEN_IDS,
    blocks,
    examples_of,
    opened,
    stock_rows,
)
from stages.core.examples import assemble
from stages.core.masks.draw import draw_masks
from stages.core.token_store import TokenStore
from stages.encoding.encoder import Part
from stages.masking.instances import SEQUENCES_AT_ONCE, document_blocks, mask_instances
from stages.masking.packing import full_sentences
from stages.pretraining.batches import Drawn, Examples

_CHUNK_CHARACTERS = 1_000_000
_EPOCHS = 8  # one alone is over in hundredths of a second


def measure_encoding(megabytes: float, rounds: int) -> Result:
    """Documents to stored ids, cold, sentence borders found too, against map's token ids.

    The baseline sees the sentences ready cut, as lines.
    """
    documents, lines = list(texts.documents(megabytes)), list(texts.sentences(megabytes))
    size = sum(len(text.encode()) for text in documents) / 1e6
    stock = _stock_tokenizer()
    dataset = datasets.Dataset.from_dict({"text": lines})
    pairs = alternate(
        lambda: size / _seconds(lambda: _mapped(dataset, stock)),
        lambda: size / _seconds(lambda: _encoded(documents)),
        rounds,
    )
    return compare(
        "text to stored token ids",
        pairs,
        unit="MB/s of text",
        target=5,
        stretch=15,
        note="measured cold, sentence borders found as well, which the baseline is given",
    )


def measure_ready(megabytes: float, rounds: int) -> Result:
    """Documents to an epoch of masked batches: tokens, packing, masks, tensors; nothing is written.

    The baseline is run_mlm's: map to token ids, map into blocks, and the collator over its loader.
    Ours are the functions of encoding, masking (full-sentences, dynamic) and pre-training.
    """
    documents = list(texts.documents(megabytes))
    size = sum(len(text.encode()) for text in documents) / 1e6
    stock = _stock_tokenizer()
    collator = DataCollatorForLanguageModeling(tokenizer=stock, mlm_probability=0.15)
    dataset = datasets.Dataset.from_dict({"text": documents})

    def collated() -> None:
        ready = _map(_mapped(dataset, stock), _grouped)
        for _ in DataLoader(ready, batch_size=SEQUENCES, collate_fn=collator):
            pass

    def batched() -> None:
        store = texts.document_store(VOCAB, _encoded(documents))
        _visit_batches(opened(store, _packed(store), VOCAB))

    pairs = alternate(lambda: size / _seconds(collated), lambda: size / _seconds(batched), rounds)
    return compare(
        "text to ready masked examples for an epoch",
        pairs,
        unit="MB/s of text",
        target=10,
        stretch=30,
        note="more than half of it is encoding, cold, sentence borders found as well; the rest is "
        "batches of 32, each of hundreds of small operations",
    )


def measure_masks(rounds: int) -> tuple[Result, Result]:
    """Masks alone for an epoch of blocks, and whole packed batches, against the collator.

    Masks alone are drawn as the masking stage draws them, so many sequences at once.
    """
    store = texts.token_store(VOCAB, 4)
    spans = blocks(store)[:4000]
    examples = examples_of(store, spans, VOCAB)
    collator = DataCollatorForLanguageModeling(tokenizer=_stock_tokenizer(), mlm_probability=0.15)
    rows = stock_rows(store, spans)
    tokens = len(spans) * LENGTH
    pieces = [
        np.arange(first, min(first + SEQUENCES_AT_ONCE, len(spans)))
        for first in range(0, len(spans), SEQUENCES_AT_ONCE)
    ]
    assembled = [
        assemble(
            store,
            examples.index.examples[number],
            max_seq_length=LENGTH,
            special_token_ids=examples.special_token_ids,
        )
        for number in pieces
    ]

    def collated() -> float:
        return tokens / _seconds(
            lambda: [collator(rows[n : n + SEQUENCES]) for n in range(0, len(rows), SEQUENCES)]
        )

    def masked() -> float:
        started = time.perf_counter()
        for epoch in range(_EPOCHS):
            for sequences, number in zip(assembled, pieces, strict=True):
                draw_masks(
                    sequences,
                    (epoch, number[:, None]),
                    settings=MASKS,
                    max_predictions=None,
                    vocabulary=examples.vocabulary,
                    purpose="benchmark",
                )
        return _EPOCHS * tokens / (time.perf_counter() - started)

    def batched() -> float:
        return tokens / _seconds(lambda: _visit_batches(examples))

    return (
        compare(
            "masks for an epoch",
            alternate(collated, masked, rounds),
            unit="tokens/s",
            target=100,
            note="each position has a draw of its own, and exact budgets sort each row",
        ),
        compare(
            "masks and packed batches for an epoch",
            alternate(collated, batched, rounds),
            unit="tokens/s",
            target=1,
        ),
    )


def _stock_tokenizer() -> BertTokenizerFast:
    return BertTokenizerFast(tokenizer_object=texts.tokenizer(VOCAB))


def _mapped(dataset: datasets.Dataset, stock: BertTokenizerFast) -> datasets.Dataset:
    """Token ids as run_mlm's first map makes them."""
    return _map(dataset, lambda rows: stock(rows["text"], return_special_tokens_mask=True))


def _map(dataset: datasets.Dataset, function: Callable[[Any], Any]) -> datasets.Dataset:
    return dataset.map(
        function,
        batched=True,
        remove_columns=dataset.column_names,
        load_from_cache_file=False,
        keep_in_memory=True,
    )


def _grouped(rows: Mapping[str, list[list[int]]]) -> dict[str, list[list[int]]]:
    """The rows of each column one after the other, cut into LENGTH; the rest is dropped."""
    joined = {name: list(chain.from_iterable(column)) for name, column in rows.items()}
    end = len(joined["input_ids"]) // LENGTH * LENGTH
    return {
        name: [column[first : first + LENGTH] for first in range(0, end, LENGTH)]
        for name, column in joined.items()
    }


def _encoded(documents: Sequence[str]) -> list[Part]:
    """The documents as a fresh worker of the encoding stage encodes them."""
    encoder = texts.encoder(VOCAB)
    return [encoder.encode(chunk) for chunk in _chunks(documents)]


def _chunks(documents: Sequence[str]) -> Iterator[list[str]]:
    """Whole documents in chunks of about a million characters, as the stage's blocks are."""
    chunk: list[str] = []
    size = 0
    for document in documents:
        chunk.append(document)
        size += len(document)
        if size >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _packed(store: TokenStore) -> np.ndarray:
    """The index of the masking stage, its numbers for the manifest counted out as there."""
    masking = masking_of(MASKS, max_predictions=None, is_static=False)
    masked = (
        mask_instances(
            store,
            full_sentences(store, first, last, visits=range(1), max_seq_length=LENGTH),
            max_seq_length=LENGTH,
            special_token_ids=SPECIAL_TOKEN_IDS,
            masking=masking,
        )
        for first, last in document_blocks(store)
    )
    return np.concatenate([one.examples for one in masked])


def _visit_batches(examples: Examples) -> None:
    """Build every batch of one epoch."""
    for first in range(0, len(examples.index), SEQUENCES):
        chosen = np.arange(first, min(first + SEQUENCES, len(examples.index)))
        examples.batch(Drawn(chosen, np.zeros_like(chosen)))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
