"""The speed of training on this machine, measured: a few updates through the trainer itself.

Nothing is written: the trainer's weights and optimiser live in this process alone. What would take
too long is measured smaller, with one micro-batch, fewer sequences or fewer layers, and scaled: the
passes by their FLOPs, the optimiser by its weights. Several processes are not started: one of them
is measured, on its share of the threads; what they exchange is not counted. Where even one sequence
takes too long, the speed of a plain product is all that is measured.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import torch

from stages.core.execution import Execution
from stages.core.logs import fields
from stages.core.nn.optimizer import clip_gradients
from stages.pretraining import ranks
from stages.pretraining.batches import COMPARISON, Examples
from stages.pretraining.clock import DTYPES, peak_flops
from stages.pretraining.objective import Vocabulary, Work, load_objective
from stages.pretraining.outline import empty_objective, with_layers
from stages.pretraining.params import Phase, PretrainingParams
from stages.pretraining.trainer import Trainer
from stages.pretraining.weights import num_weights

log = logging.getLogger(__name__)
_WARMUP_UPDATES = 2
_LEAST_UPDATES = 3
_MOST_UPDATES = 40
_ROUNDS = 3  # of the optimiser alone
_LEAST_LAYERS = 2
_FEW_SEQUENCES = 8


@dataclass(frozen=True)
class Share:
    """What one process computes in an update of one phase."""

    phase: Phase
    sequences: int
    """Of the global batch."""
    work: Work
    """Of so many sequences, on average."""


@dataclass(frozen=True)
class Trial:
    """What is measured in place of an update."""

    layers: int
    sequences: int


@dataclass(frozen=True)
class Speed:
    """Seconds of an update, and what they were measured on."""

    seconds: float
    num_updates: int
    trial: Trial | None
    """None where nothing but a product was measured."""
    is_scaled: bool
    """Whether less than an update was measured."""


def product_speed(precision: str) -> float:
    """FLOPs per second of a plain product on this machine."""
    return peak_flops(ranks.device(), DTYPES[precision])


def calibrate(
    params: PretrainingParams,
    share: Share,
    examples: Examples,
    vocabulary: Vocabulary,
    execution: Execution,
    *,
    reached: float,
    seconds: float,
) -> Speed:
    """Measure an update on this machine within about `seconds`, its first ones not counted.

    `reached`: FLOPs per second that are expected, to choose what is measured.
    """
    whole = empty_objective(params, vocabulary)
    full = Trial(whole.encoder.config.num_hidden_layers, share.sequences)
    wanted = whole.flops(share.work)
    trials = _trials(full, execution.micro_batch_sequences)
    trial = _affordable(params, share, vocabulary, trials, reached * seconds)
    if trial is None:
        return Speed(wanted / reached, 0, None, is_scaled=True)
    log.info("%s", fields("calibrating", layers=trial.layers, sequences=trial.sequences))
    trainer = _trainer(params, share, examples, vocabulary, execution, trial)
    durations, flops = _timed_updates(trainer, seconds)
    fixed = _apply_seconds(trainer)
    trainer.prefetch.stop()
    passes = max(0.0, median(durations) - fixed)
    scaled = passes * wanted / flops + fixed * num_weights(whole) / num_weights(trainer.objective)
    return Speed(scaled, len(durations), trial, is_scaled=trial != full)


def _affordable(
    params: PretrainingParams,
    share: Share,
    vocabulary: Vocabulary,
    trials: Iterator[Trial],
    affordable_flops: float,
) -> Trial | None:
    """The first trial of which enough updates can be afforded."""
    flops: dict[int, float] = {}
    for trial in trials:
        if trial.layers not in flops:
            objective = empty_objective(with_layers(params, trial.layers), vocabulary)
            flops[trial.layers] = objective.flops(share.work) / share.sequences
        updates = _WARMUP_UPDATES + _LEAST_UPDATES
        if updates * flops[trial.layers] * trial.sequences <= affordable_flops:
            return trial
    return None


def _trials(full: Trial, micro_batch_sequences: int) -> Iterator[Trial]:
    """Ever smaller ones: fewer sequences while the products stay large, then layers, then both."""
    yield full
    sequences, layers = min(full.sequences, micro_batch_sequences), full.layers
    while sequences > _FEW_SEQUENCES:
        yield Trial(layers, sequences)
        sequences = max(_FEW_SEQUENCES, sequences // 2)
    while layers > _LEAST_LAYERS:
        yield Trial(layers, sequences)
        layers = max(_LEAST_LAYERS, layers // 2)
    while sequences > 1:
        yield Trial(layers, sequences)
        sequences //= 2
    yield Trial(layers, 1)


def _trainer(
    params: PretrainingParams,
    share: Share,
    examples: Examples,
    vocabulary: Vocabulary,
    execution: Execution,
    trial: Trial,
) -> Trainer:
    """A trainer of one process whose updates are the trial."""
    phase = share.phase.model_copy(
        update={"share_of_budget": 1.0, "global_batch_sequences": trial.sequences}
    )
    smaller = with_layers(params, trial.layers).model_copy(update={"phases": (phase,)})
    torch.manual_seed(params.seed)
    objective = load_objective(params.objective).from_scratch(smaller, vocabulary)
    length = phase.max_seq_length
    splits = {("train", length): examples, (COMPARISON, length): examples}
    return Trainer(smaller, objective, splits, execution)


def _timed_updates(trainer: Trainer, seconds: float) -> tuple[list[float], float]:
    """Seconds of each update, and the mean FLOPs of one."""
    for _ in range(_WARMUP_UPDATES):
        trainer.update()
    before, started = trainer.ledger.spent.flops, time.monotonic()
    durations: list[float] = []
    while len(durations) < _MOST_UPDATES:
        durations.append(_seconds(trainer.update))
        if len(durations) >= _LEAST_UPDATES and time.monotonic() - started > seconds / 2:
            break
    return durations, (trainer.ledger.spent.flops - before) / len(durations)


def _apply_seconds(trainer: Trainer) -> float:
    """What clipping and the optimiser take: they cost the same for gradients of zero."""
    for parameter in trainer.objective.parameters():
        parameter.grad = torch.zeros_like(parameter)

    def apply() -> None:
        clip_gradients(trainer.objective.parameters(), trainer.params.max_grad_norm)
        trainer.optimizer.step()

    return median(_seconds(apply) for _ in range(_ROUNDS))


def _seconds(work: Callable[[], object]) -> float:
    """Seconds until the device has done it."""
    started = time.monotonic()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic() - started
