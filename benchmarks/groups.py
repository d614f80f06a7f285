"""The groups of rows, each a generator of results that adds to the facts of the page.

The quick form has fewer rounds and less text, all of it under five minutes; where it measures
something smaller the row's name says so.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from benchmarks import data, finetuning, instances, memory, pipeline, texts
from benchmarks import pretraining as training
from benchmarks.paired import Result
from stages.core.execution import available_cores

Group = Callable[[bool, dict[str, Any]], Iterator[Result]]


def _pretraining(is_quick: bool, facts: dict[str, Any]) -> Iterator[Result]:
    torch.set_num_threads(available_cores())
    facts["largest relative gap of loss and gradients to transformers"] = (
        training.largest_loss_difference(8000)
    )
    for kind in ("blocks", "lines"):
        for vocab_size in (8000, 30522):
            yield from training.measure(kind, vocab_size, 3 if is_quick else 16)


def _finetuning(is_quick: bool, facts: dict[str, Any]) -> Iterator[Result]:
    torch.set_num_threads(available_cores())
    if texts.real_data():
        yield from finetuning.measure_all(is_quick=is_quick, facts=facts)
    else:
        facts["fine-tuning"] = "not measured: CLOZE_REAL_DATA names no folder with GLUE"


def _data(is_quick: bool, facts: dict[str, Any]) -> Iterator[Result]:
    torch.set_num_threads(1)
    rounds = 2 if is_quick else 5
    yield data.measure_encoding(2 if is_quick else 40, 2 if is_quick else 3)
    yield from data.measure_masks(rounds)
    yield data.measure_ready(1 if is_quick else 20, 2 if is_quick else 3)
    yield instances.measure_instances(1 if is_quick else 4, rounds, facts)


def _memory(is_quick: bool, facts: dict[str, Any]) -> Iterator[Result]:
    yield from memory.measure_memory(5 if is_quick else 180, facts)


def _pipeline(is_quick: bool, facts: dict[str, Any]) -> Iterator[Result]:
    yield from pipeline.measure_pipeline(is_quick=is_quick, facts=facts)


GROUPS: Mapping[str, Group] = {
    "pretraining": _pretraining,
    "finetuning": _finetuning,
    "data": _data,
    "memory": _memory,
    "pipeline": _pipeline,
}
