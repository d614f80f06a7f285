"""Text to token ids, masks and ready examples against what run_mlm does, on one core."""

import time
from collections.abc import Callable

import datasets
import numpy as np
from transformers import BertTokenizerFast, DataCollatorForLanguageModeling

from benchmarks import texts
from benchmarks.paired import Result, alternate, compare
from benchmarks.pretraining import LENGTH, MASKS, SEQUENCES, blocks, examples_of, stock_rows
from stages.core.examples import assemble
from stages.core.masks.draw import draw_masks
from stages.encoding.encoder import Encoder
from stages.encoding.memory import WordMemory
from stages.encoding.run import chunk_texts
from stages.pretraining.batches import Drawn

_VOCAB = 8000


def measure_encoding(megabytes: float, rounds: int) -> Result:
    """Documents to stored ids, cold, sentence borders found too, against map's token ids.

    The baseline sees the sentences ready cut, as lines.
    """
    documents, lines = list(texts.documents(megabytes)), list(texts.sentences(megabytes))
    size = sum(len(text.encode()) for text in documents) / 1e6
    made = texts.tokenizer(_VOCAB)
    stock = BertTokenizerFast(tokenizer_object=made)
    dataset = datasets.Dataset.from_dict({"text": lines})

    def mapped() -> float:
        return size / _seconds(
            lambda: dataset.map(
                lambda rows: stock(rows["text"], return_special_tokens_mask=True),
                batched=True,
                remove_columns=["text"],
                load_from_cache_file=False,
                keep_in_memory=True,
            )
        )

    def ours() -> float:
        encoder = Encoder(WordMemory(made, np.dtype("<u2")), "en", 4000)
        return size / _seconds(lambda: [encoder.encode(chunk) for chunk in chunk_texts(documents)])

    pairs = alternate(mapped, ours, rounds)
    return compare(
        "text to stored token ids",
        pairs,
        unit="MB/s of text",
        target=5,
        stretch=15,
        note="measured cold, sentence borders found as well, which the baseline is given",
    )


def measure_masks(rounds: int) -> tuple[Result, Result]:
    """Masks alone for an epoch of blocks, and whole packed batches, against the collator."""
    store = texts.token_store(_VOCAB, 4)
    spans = blocks(store)[:4000]
    examples = examples_of(store, spans, _VOCAB)
    stock = BertTokenizerFast(tokenizer_object=texts.tokenizer(_VOCAB))
    collator = DataCollatorForLanguageModeling(tokenizer=stock, mlm_probability=0.15)
    rows = stock_rows(store, spans)
    tokens = len(spans) * LENGTH
    everything = assemble(
        store,
        examples.index.examples,
        max_seq_length=LENGTH,
        special_token_ids=examples.special_token_ids,
    )
    epoch = np.zeros((len(spans), 1), dtype=np.int64)
    number = np.arange(len(spans))[:, None]

    def collated() -> float:
        return tokens / _seconds(
            lambda: [collator(rows[n : n + SEQUENCES]) for n in range(0, len(rows), SEQUENCES)]
        )

    def masked() -> float:
        return tokens / _seconds(
            lambda: draw_masks(
                everything,
                (epoch, number),
                settings=MASKS,
                max_predictions=None,
                vocabulary=examples.vocabulary,
                purpose="benchmark",
            )
        )

    def batched() -> float:
        def build() -> None:
            for first in range(0, len(spans), SEQUENCES):
                chosen = np.arange(first, min(first + SEQUENCES, len(spans)))
                examples.batch(Drawn(chosen, np.zeros_like(chosen)))

        return tokens / _seconds(build)

    return (
        compare(
            "masks for an epoch",
            alternate(collated, masked, rounds),
            unit="tokens/s",
            target=100,
            note="exact budgets sort every row, and replacements are drawn at all positions",
        ),
        compare(
            "masks and packed batches for an epoch",
            alternate(collated, batched, rounds),
            unit="tokens/s",
            target=1,
        ),
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
