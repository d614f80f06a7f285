"""Fine-tuning steps against `transformers.Trainer`, as run_glue sets it up, on the same model.

After each of the Trainer's steps one of the stage's `train` runs, in the same process and on as
many threads. A round is so many steps of both, as batches differ in length: of the sampler that is
grouped by length one whole cycle, from its longest batch to its shortest. Both keep dropout 0.1,
AdamW and clipping. Needs GLUE: CLOZE_REAL_DATA.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import (
    BertForSequenceClassification,
    BertTokenizerFast,
    DataCollatorWithPadding,
    default_data_collator,
)
from transformers.models.bert.configuration_bert import BertConfig

from benchmarks.paired import Result, compare
from benchmarks.stock import steps_beside, stock_trainer
from benchmarks.texts import real_data, tokenizer
from stages.finetuning.classifier import Classifier
from stages.finetuning.features import Features, StartTokenizer
from stages.finetuning.params import Training
from stages.finetuning.predictions import dev_scores, task_score
from stages.finetuning.task import DEV, TRAIN, Task, read_task
from stages.finetuning.training import predict, train
from stages.tasks.files import read_files
from stages.tasks.splits import write_task

TASKS = ("SST-2", "CoLA", "RTE")
_VOCAB = 30522
_LENGTH = 128
_SEQUENCES = 32
_CYCLE = 50  # batches that the Trainer's sampler sorts by length
_SEEDS = (1, 2, 3)
_SCORED_EXAMPLES = 4000
_SCORED_EPOCHS = 2
_SCORED_RATE = 1e-3  # at 1e-4 random weights learn nothing in so few updates
_WARMUP_FRACTION = 0.1
_TARGETS = {
    ("SST-2", "padded"): 8.0,
    ("CoLA", "padded"): 8.0,
    ("RTE", "padded"): 2.5,
    ("SST-2", "grouped"): 1.3,
    ("CoLA", "grouped"): 1.3,
    ("RTE", "grouped"): 1.3,
}
_NAMES = {"padded": "padded to 128 as run_glue does", "grouped": "grouped by length"}


def measure(name: str, baseline: str, *, steps: int, rounds: int) -> Result:
    """Examples per second of one task, against one of the Trainer's two ways of padding."""
    task = _task(name, None)
    features = _features(task)
    model = _model(task, seed=1)
    updates = train(Classifier(_model(task, seed=1), task), features, _training(100), seed=1)

    def our_step() -> float:
        started = time.perf_counter()
        next(updates)
        return time.perf_counter() - started

    pairs = _interleave(model, _rows(task, features, baseline), baseline, our_step, steps, rounds)
    return compare(
        f"fine-tuning, {name}, against batches {_NAMES[baseline]}",
        pairs,
        unit="examples/s",
        target=_TARGETS[name, baseline],
        note="a step has few tokens, and what does not depend on them weighs: AdamW and the "
        f"gradient of {_VOCAB:,} embeddings, and the start of some thousand small operators",
    )


def scores_of_both(facts: dict[str, Any]) -> None:
    """Train to the end with the Trainer and with the stage, some seeds each; `facts` gets both."""
    task = _task("SST-2", _SCORED_EXAMPLES)
    features, dev = _features(task), _features(task, DEV)
    found: dict[str, list[float]] = {"transformers.Trainer": [], "Cloze": []}
    for seed in _SEEDS:
        stock, ours = (Classifier(_model(task, seed), task) for _ in found)
        rows = _rows(task, features, "grouped")
        steps = _SCORED_EPOCHS * -(-len(rows) // _SEQUENCES)
        settings = {**_stock_settings("grouped"), "learning_rate": _SCORED_RATE}
        stock_trainer(stock.model, rows, steps=steps, seed=seed, **settings).train()
        for _ in train(ours, features, _training(_SCORED_EPOCHS, _SCORED_RATE), seed=seed):
            pass
        for side, learner in zip(found, (stock, ours), strict=True):
            found[side].append(task_score(task, dev_scores(task, predict(learner, dev))))
    name = f"dev accuracy of SST-2 after {_SCORED_EPOCHS} epochs of {_SCORED_EXAMPLES:,} examples"
    facts[f"{name}, {len(_SEEDS)} seeds"] = "; ".join(
        f"{side} {statistics.fmean(values):.3f} (sd {statistics.stdev(values):.3f})"
        for side, values in found.items()
    )


def _interleave(
    model: Any,
    rows: list[dict[str, Any]],
    baseline: str,
    our_step: Callable[[], float],
    steps: int,
    rounds: int,
) -> list[tuple[float, float]]:
    """Rounds of (Trainer, ours) in examples per second; the first two steps are left out."""
    seconds = steps_beside(
        model, rows, our_step, steps=2 + steps * rounds, **_stock_settings(baseline)
    )
    measured = np.array(seconds[2:]).reshape(rounds, steps, 2).sum(axis=1)
    return [(steps * _SEQUENCES / a, steps * _SEQUENCES / b) for a, b in measured]


def _stock_settings(baseline: str) -> dict[str, Any]:
    """How the Trainer makes its batches."""
    is_grouped = baseline == "grouped"
    stock = BertTokenizerFast(tokenizer_object=tokenizer(_VOCAB))
    return {
        "collator": DataCollatorWithPadding(stock) if is_grouped else default_data_collator,
        "train_sampling_strategy": "group_by_length" if is_grouped else "random",
        "per_device_train_batch_size": _SEQUENCES,
        "warmup_steps": _WARMUP_FRACTION,
    }


def _rows(task: Task, features: Features, baseline: str) -> list[dict[str, Any]]:
    """What run_glue holds after its map."""
    rows = []
    for number, label in enumerate(task.labels(TRAIN)):
        mine = slice(*features.offsets[number : number + 2])
        ids, types = features.ids[mine].tolist(), features.types[mine].tolist()
        empty = [0] * (_LENGTH - len(ids) if baseline == "padded" else 0)
        rows.append(
            {
                "input_ids": ids + empty,
                "token_type_ids": types + empty,
                "attention_mask": [1] * len(ids) + empty,
                "labels": int(label),
            }
        )
    return rows


@cache
def _task(name: str, max_train_examples: int | None) -> Task:
    """A task of GLUE as the tasks stage writes it."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "source", Path(folder) / "out"
        source.mkdir()
        (source / name).symlink_to(real_data() / "glue" / name)
        (written,) = read_files(source, {})
        write_task(out, written)
        return read_task(out, max_train_examples)


def _features(task: Task, split: str = TRAIN) -> Features:
    made = Tokenizer.from_str(tokenizer(_VOCAB).to_str())  # the other rows cut nothing
    made.enable_truncation(_LENGTH, strategy="longest_first")
    return StartTokenizer(made, pad_token_id=0, has_token_types=True).encode(task.splits[split])


def _model(task: Task, seed: int) -> BertForSequenceClassification:
    """BERT-mini with random weights and a head for the task."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=_VOCAB,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        num_labels=task.num_outputs,
    )
    return BertForSequenceClassification(config)


def _training(num_epochs: int, learning_rate: float = 1e-4) -> Training:
    return Training(
        batch_sequences=_SEQUENCES,
        num_epochs=num_epochs,
        learning_rate=learning_rate,
        warmup_fraction=_WARMUP_FRACTION,
        weight_decay=0.01,
        layerwise_lr_decay=1.0,
        early_stop_epochs=None,
    )


def measure_all(*, is_quick: bool, facts: dict[str, Any]) -> Iterator[Result]:
    """Every task against both ways; the quick form takes one task and fewer steps."""
    for name in TASKS[:1] if is_quick else TASKS:
        yield measure(name, "padded", steps=4 if is_quick else 10, rounds=1 if is_quick else 5)
        yield measure(
            name, "grouped", steps=10 if is_quick else _CYCLE, rounds=1 if is_quick else 3
        )
    if not is_quick:
        scores_of_both(facts)
