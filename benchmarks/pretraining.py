"""Pre-training steps against `transformers.Trainer`, as run_mlm sets it up, on the same model.

After each of the Trainer's steps one of Cloze's runs, in the same process and on as many threads,
so that both see the same machine. The Trainer's time is from the end of our step to the end of its
own: its data loader and collator are in it, as our masks and packing are in ours. Both keep dropout
0.1, the usual AdamW and clipping; allocator settings are tuned for both (see `__main__`).
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import (
    BertTokenizerFast,
    DataCollatorForLanguageModeling,
    RobertaForMaskedLM,
)

from benchmarks.paired import Result, compare
from benchmarks.stock import steps_beside
from benchmarks.texts import token_store, tokenizer
from stages.core.examples import EXAMPLE, ExampleIndex
from stages.core.execution import read_execution
from stages.core.masks.settings import MaskSettings, MaskVocabulary
from stages.core.settings import PARAMS_FILE, parse_section, read_yaml
from stages.core.token_store import TokenStore
from stages.pretraining.batches import Examples
from stages.pretraining.clock import peak_flops
from stages.pretraining.objective import Objective, Vocabulary, load_objective
from stages.pretraining.params import PretrainingParams
from stages.pretraining.trainer import Trainer

SPECIAL_TOKEN_IDS = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}  # as texts.tokenizer
LENGTH = 128
SEQUENCES = 32
_MEGABYTES = 4
_LIMITS = {
    "blocks": "three quarters of a step are matrix products at the machine's peak; the rest is "
    "gelu and its gradient, dropout's random bits, LayerNorm, biases and copies, bound by memory",
    "lines": "a step has some 900 tokens, and what does not depend on them weighs: dense gradients "
    "of the embedding, AdamW over all weights, the start of thousands of small operators",
}
MASKS = MaskSettings(
    unit="token",
    mlm_probability=0.15,
    budget_rounding="random",
    mask_token_probability=0.8,
    random_token_probability=0.1,
    span_geometric_probability=None,
    max_span_words=None,
    seed=1,
)


def measure(kind: str, vocab_size: int, rounds: int) -> tuple[Result, Result]:
    """Useful tokens per second of `blocks` or `lines`, and ours as a share of the SGEMM peak."""
    targets = {
        ("blocks", 8000): (2.2, 2.9),
        ("blocks", 30522): (3.5, 4.8),
        ("lines", 8000): (5.0, 6.0),
        ("lines", 30522): (8.0, 11.0),
    }
    store = token_store(vocab_size, _MEGABYTES)
    spans = blocks(store) if kind == "blocks" else _lines(store)
    objective = _objective(vocab_size, dropout=0.1)
    ours = _trainer(objective, examples_of(store, spans, vocab_size), dropout=0.1)
    stock = RobertaForMaskedLM(objective.encoder.config.__class__(**_plain_config(objective)))
    spent = ours.ledger.spent
    achieved: list[tuple[float, float]] = []
    device = torch.device("cpu")

    def our_step() -> float:
        tokens, flops, started = spent.tokens, spent.flops, time.perf_counter()
        ours.update()
        seconds = time.perf_counter() - started
        achieved.append((peak_flops(device, torch.float32), (spent.flops - flops) / seconds))
        return (spent.tokens - tokens) / seconds

    pairs = _interleave(stock, stock_rows(store, spans), our_step, rounds)
    ours.prefetch.stop()
    target, stretch = targets[kind, vocab_size]
    name = f"pre-training, {kind}, vocabulary {vocab_size:,}"
    return (
        compare(
            name,
            pairs,
            unit="useful tokens/s",
            target=target,
            stretch=stretch,
            note=_LIMITS[kind],
        ),
        compare(
            f"{name}: share of the SGEMM peak",
            achieved,
            unit="FLOP/s, against a product's beside each step",
            target=0.6,
            stretch=0.75,
            note=_LIMITS[kind],
        ),
    )


def largest_loss_difference(vocab_size: int) -> float:
    """The largest relative gap of loss and gradient to transformers' own, without dropout."""
    store = token_store(vocab_size, _MEGABYTES)
    objective = _objective(vocab_size, dropout=0.0)
    trainer = _trainer(objective, examples_of(store, _lines(store), vocab_size), dropout=0.0)
    (batch,) = trainer._batches(0, 0)
    trainer.prefetch.stop()
    term = objective(batch.inputs)["mlm"]
    (term.loss_sum / term.count).backward()
    stock = RobertaForMaskedLM(objective.encoder.config.__class__(**_plain_config(objective)))
    stock.load_state_dict(objective.encoder.state_dict())
    total = batch.work.tokens
    lengths = torch.cat([batch.inputs["first_index"], torch.tensor([total])]).diff()
    column = torch.arange(int(lengths.max()))
    is_token = column < lengths[:, None]
    ids = torch.zeros(is_token.shape, dtype=torch.int64)
    ids[is_token] = batch.inputs["input_ids"]
    flat = torch.full((total,), -100)
    flat[batch.inputs["masked_index"]] = batch.inputs["labels"]
    labels = torch.full(is_token.shape, -100)
    labels[is_token] = flat
    loss = stock(input_ids=ids, attention_mask=is_token, labels=labels).loss
    loss.backward()
    gaps = [abs(loss.item() - term.loss_sum.item() / term.count) / loss.item()]
    # By the largest gradient of all: that of a key's bias is 0 but for rounding.
    scale = max(float(weight.grad.abs().max()) for weight in stock.parameters())
    for mine, theirs in zip(objective.encoder.parameters(), stock.parameters(), strict=True):
        gaps.append(float((mine.grad - theirs.grad).abs().max()) / scale)
    return max(gaps)


def _interleave(
    model: Any, rows: list[dict[str, Any]], our_step: Callable[[], float], rounds: int
) -> list[tuple[float, float]]:
    """Rounds of (Trainer, ours) in useful tokens per second, the first two left out."""
    collator = _Counting(_stock_tokenizer(model.config.vocab_size))
    pairs = steps_beside(
        model,
        rows,
        our_step,
        collator=collator,
        steps=rounds + 2,
        per_device_train_batch_size=SEQUENCES,
    )
    tokens = zip(collator.counts, pairs, strict=False)  # the loader runs ahead
    return [(count / seconds, ours) for count, (seconds, ours) in tokens][2:]


class _Counting(DataCollatorForLanguageModeling):
    """The stock collator, which also counts each batch's tokens; the loader runs one ahead."""

    def __init__(self, made: BertTokenizerFast) -> None:
        super().__init__(tokenizer=made, mlm_probability=0.15)
        self.counts: list[int] = []

    def torch_call(self, examples: list[Any]) -> dict[str, Any]:
        batch = super().torch_call(examples)
        self.counts.append(int(batch["attention_mask"].sum()))
        return batch


def _stock_tokenizer(vocab_size: int) -> BertTokenizerFast:
    return BertTokenizerFast(tokenizer_object=tokenizer(vocab_size))


def blocks(store: TokenStore) -> list[tuple[int, int]]:
    """The text cut into runs of LENGTH - 2 tokens, as run_mlm groups it."""
    text = LENGTH - 2
    return [(start, text) for start in range(0, len(store.tokens) - text, text)]


def _lines(store: TokenStore) -> list[tuple[int, int]]:
    """One sentence a sequence, as run_mlm's --line_by_line."""
    lengths = np.minimum(np.diff(store.sentences), LENGTH - 2)
    return list(zip(store.sentences[:-1].tolist(), lengths.tolist(), strict=True))


def stock_rows(store: TokenStore, spans: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """What run_mlm holds after its map: input_ids and special_tokens_mask; 2 and 3 are the ends."""
    return [
        {
            "input_ids": [2, *store.tokens[start : start + size].tolist(), 3],
            "special_tokens_mask": [1, *[0] * size, 1],
        }
        for start, size in spans
    ]


def examples_of(store: TokenStore, spans: list[tuple[int, int]], vocab_size: int) -> Examples:
    """The same sequences as the training stage opens them, with dynamic masks."""
    index = np.zeros(len(spans), dtype=EXAMPLE)
    index["a_start"], index["a_length"] = zip(*spans, strict=True)
    return opened(store, index, vocab_size)


def opened(store: TokenStore, index: np.ndarray, vocab_size: int) -> Examples:
    """An index as the training stage opens it, with dynamic masks."""
    return Examples(
        store=store,
        index=ExampleIndex(index, None),
        max_seq_length=LENGTH,
        special_token_ids=SPECIAL_TOKEN_IDS,
        mask_settings=MASKS,
        max_predictions=None,
        vocabulary=MaskVocabulary(SPECIAL_TOKEN_IDS["mask"], np.arange(5, vocab_size)),
        reads=load_objective("roberta").reads,
    )


def _params(dropout: float) -> PretrainingParams:
    """The project's own settings but for the objective, size, length and dropout."""
    model = {
        "size": "mini",
        "overrides": {},
        "hidden_dropout_probability": dropout,
        "attention_dropout_probability": dropout,
    }
    phase = {
        "max_seq_length": LENGTH,
        "share_of_budget": 1.0,
        "global_batch_sequences": SEQUENCES,
    }
    settings = {
        **read_yaml(PARAMS_FILE)["pretraining"],
        "start": "scratch",
        "objective": "roberta",
        "electra": None,
        "model": model,
        "phases": [phase],
        "budget": {"unit": "steps", "amount": 1_000_000},
        "learning_rate": 1e-4,
        "num_warmup_steps": 0,
    }
    return parse_section(PretrainingParams, settings, where="pretraining")


def _objective(vocab_size: int, dropout: float) -> Objective:
    torch.manual_seed(1)
    vocabulary = Vocabulary(vocab_size, SPECIAL_TOKEN_IDS)
    return load_objective("roberta").from_scratch(_params(dropout), vocabulary)


def _plain_config(objective: Objective) -> dict[str, Any]:
    described = objective.encoder.config.to_dict()
    return {name: value for name, value in described.items() if name != "model_type"}


def _trainer(objective: Objective, examples: Examples, dropout: float) -> Trainer:
    data = {(split, LENGTH): examples for split in ("train", "validation", "comparison")}
    return Trainer(_params(dropout), objective, data, read_execution())
