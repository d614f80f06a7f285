"""Text to token ids, masks and ready examples against what run_mlm does, on one core."""

import time
from collections.abc import Callable

import datasets
import numpy as np
from transformers import BertTokenizerFast, DataCollatorForLanguageModeling

from benchmarks import texts
from benchmarks.paired import Result, alternate, compare
from benchmarks.pretraining import _MASKS, LENGTH, _blocks, _examples
from stages.core.examples import assemble
from stages.core.masks.draw import draw_masks
from stages.core.masks.settings import MaskVocabulary
from stages.encoding.encoder import Encoder
from stages.encoding.memory import WordMemory
from stages.pretraining.batches import Drawn

_VOCAB = 8000
_BATCH = 1000


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
        return size / _seconds(lambda: [encoder.encode([text]) for text in documents])

    pairs = alternate(mapped, ours, rounds)
    return compare("text to stored token ids", pairs, unit="MB/s of text", target=5, stretch=15)


def measure_masks(rounds: int) -> tuple[Result, Result]:
    """Masks alone for an epoch of blocks, and whole packed batches, against the collator."""
    store = texts.token_store(_VOCAB, 4)
    spans = _blocks(store)[:4000]
    examples = _examples(store, spans, _VOCAB)
    stock = BertTokenizerFast(tokenizer_object=texts.tokenizer(_VOCAB))
    collator = DataCollatorForLanguageModeling(tokenizer=stock, mlm_probability=0.15)
    rows = [
        {
            "input_ids": [2, *store.tokens[a : a + n].tolist(), 3],
            "special_tokens_mask": [1, *[0] * n, 1],
        }
        for a, n in spans
    ]
    tokens = len(spans) * LENGTH
    everything = assemble(
        store,
        examples.index.examples,
        max_seq_length=LENGTH,
        special_token_ids=examples.special_token_ids,
    )
    epoch = np.zeros((len(spans), 1), dtype=np.int64)
    number = np.arange(len(spans))[:, None]
    vocabulary = MaskVocabulary(4, np.arange(5, _VOCAB))

    def collated() -> float:
        return tokens / _seconds(
            lambda: [collator(rows[n : n + 32]) for n in range(0, len(rows), 32)]
        )

    def masked() -> float:
        return tokens / _seconds(
            lambda: draw_masks(
                everything,
                (epoch, number),
                settings=_MASKS,
                max_predictions=None,
                vocabulary=vocabulary,
                purpose="benchmark",
            )
        )

    def batched() -> float:
        def build() -> None:
            for first in range(0, len(spans), 32):
                chosen = np.arange(first, min(first + 32, len(spans)))
                examples.batch(Drawn(chosen, np.zeros_like(chosen)))

        return tokens / _seconds(build)

    return (
        compare(
            "masks for an epoch", alternate(collated, masked, rounds), unit="tokens/s", target=100
        ),
        compare(
            "masks and packed batches for an epoch",
            alternate(collated, batched, rounds),
            unit="tokens/s",
            target=1,
            note="what training does for every step, in the background",
        ),
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
