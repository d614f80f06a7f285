"""Estimates of a training from its settings: updates, tokens, FLOPs, memory and time.

In: settings, what updates ask for, a machine. Out: a plan as JSON. FLOPs are those that training
books, by the objective itself; time is measured on this machine by a few updates, or assumed for a
named one.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from stages.core.errors import SettingsError
from stages.core.execution import Execution, read_execution
from stages.core.settings import parse_section, read_yaml
from stages.pretraining.amounts import Amounts, spend, update_amounts
from stages.pretraining.clock import peak_memory_bytes
from stages.pretraining.fitting import Room, Stretch, Training, advice, largest_micro_batch
from stages.pretraining.machines import (
    ASSUMED_UTILIZATION,
    RESERVED_ON_GPU_BYTES,
    Machine,
)
from stages.pretraining.memory import setting_of
from stages.pretraining.objective import Objective, Vocabulary
from stages.pretraining.outline import empty_objective, outlined
from stages.pretraining.params import INPUTS, PretrainingParams
from stages.pretraining.weights import num_weights
from stages.pretraining.workload import Workload, made_up_workload, real_workload, scaled

if TYPE_CHECKING:
    from stages.pretraining.calibration import Speed

_CALIBRATION_SECONDS = 8.0
_SECONDS = 60.0
_SMALL_HIDDEN_SIZE = 768


@dataclass(frozen=True)
class Given:
    """What a plan is made from."""

    params: PretrainingParams
    vocabulary: Vocabulary
    execution: Execution
    machine: Machine
    made_up: Sequence[Workload]
    """Full sequences, a workload a phase."""
    real: Sequence[Workload] | None
    """The examples that training will read, where they are there."""

    @property
    def workloads(self) -> Sequence[Workload]:
        """What updates are counted by."""
        return self.real or self.made_up


@dataclass(frozen=True)
class Pace:
    """Seconds of an update in each phase, and where they come from."""

    seconds: Sequence[float]
    is_measured: bool
    notes: Sequence[str]


def assumed_pace(given: Given, objective: Objective) -> Pace:
    """What a named machine reaches: its published peak times an assumed utilisation.

    Raises: SettingsError: it has no units for the precision.
    """
    machine, precision = given.machine, given.params.precision
    assert machine.peaks is not None
    if precision not in machine.peaks:
        raise SettingsError(
            f"--machine {machine.name} has no units for pretraining.precision {precision!r}, "
            f"expected one of {sorted(machine.peaks)}: --set pretraining.precision=float32"
        )
    reached = machine.peaks[precision] * ASSUMED_UTILIZATION * given.execution.processes
    pairs = zip(given.params.phases, given.workloads, strict=True)
    flops = [update_amounts(objective, phase, load, 0).flops for phase, load in pairs]
    note = (
        f"time is an assumption, no measurement: {ASSUMED_UTILIZATION:.0%} of the "
        f"{machine.peaks[precision] / 1e12:g} TFLOP/s that are published for {machine.name}"
    )
    notes = [note]
    if objective.encoder.config.hidden_size < _SMALL_HIDDEN_SIZE:
        notes.append("a model as small as this reaches far less: what surrounds products bounds it")
    return Pace([number / reached for number in flops], is_measured=False, notes=notes)


def measured_pace(given: Given) -> Pace:
    """What this machine reaches, from a few updates of every phase."""
    from stages.pretraining.calibration import Share, calibrate, product_speed

    execution, params = given.execution, given.params
    torch.set_num_threads(max(1, execution.workers // execution.processes))
    product = product_speed(params.precision)
    seconds, notes = [], list(_notes_on_products(params, product, product_speed("float32")))
    for phase, load in zip(params.phases, given.workloads, strict=True):
        sequences = -(-phase.global_batch_sequences // execution.processes)
        speed = calibrate(
            params,
            Share(phase, sequences, scaled(load.work, sequences)),
            load.examples,
            given.vocabulary,
            execution,
            reached=ASSUMED_UTILIZATION * product,
            seconds=_CALIBRATION_SECONDS / len(params.phases),
        )
        seconds.append(speed.seconds)
        notes.append(f"time at {phase.max_seq_length} tokens: {_measured(speed, product)}")
    if execution.processes > 1:
        notes.append("time: one process was measured; what processes exchange is not counted")
    return Pace(seconds, is_measured=True, notes=notes)


def _measured(speed: "Speed", product: float) -> str:
    """What an update's seconds come from, in words."""
    if speed.trial is None:
        return (
            f"an assumption, {ASSUMED_UTILIZATION:.0%} of the {product / 1e9:.3g} GFLOP/s of a "
            "plain product on this machine, since even one sequence takes too long to try"
        )
    words = f"median of {speed.num_updates} updates"
    if speed.is_scaled:
        words += (
            f" of {speed.trial.sequences} sequences and {speed.trial.layers} layers, scaled by "
            "FLOPs, since a whole one takes too long to try;"
        )
    return f"{words} on this machine, as busy as it is"


def _notes_on_products(
    params: PretrainingParams, product: float, in_float32: float
) -> Iterator[str]:
    if in_float32 > 2 * product:
        yield (
            f"pretraining.precision {params.precision}: this machine computes a product in it "
            f"{in_float32 / product:.0f} times as slowly as in float32"
        )


def make_plan(given: Given) -> dict[str, Any]:
    """The plan as JSON."""
    params = given.params
    objective = empty_objective(params, given.vocabulary)
    is_named = given.machine.peaks is not None
    pace = assumed_pace(given, objective) if is_named else measured_pace(given)
    updates = [
        update_amounts(objective, phase, load, seconds)
        for phase, load, seconds in zip(params.phases, given.workloads, pace.seconds, strict=True)
    ]
    phases = spend(params, updates)
    total = sum(phases, Amounts())
    training = _training(given, objective)
    return {
        "objective": params.objective,
        "precision": params.precision,
        "vocab_size": given.vocabulary.vocab_size,
        "parameters": num_weights(objective),
        "machine": given.machine.name,
        "processes": given.execution.processes,
        "budget": params.budget.model_dump(),
        "is_measured": pace.is_measured,
        "phases": [
            _phase(training, place, phase, updates[place], given)
            for place, phase in enumerate(phases)
        ],
        "total": asdict(total),
        "evaluation_minutes": _evaluation_minutes(params, total, updates),
        "memory": _memory(training, given),
        "notes": [*_notes(given, total), *pace.notes],
    }


def _training(given: Given, objective: Objective) -> Training:
    stretches = [
        Stretch(phase.global_batch_sequences, load.work)
        for phase, load in zip(given.params.phases, given.made_up, strict=True)
    ]
    setting = setting_of(given.params, given.machine.device_type)
    return Training(objective, stretches, setting, given.execution)


def _phase(
    training: Training, place: int, spent: Amounts, update: Amounts, given: Given
) -> dict[str, Any]:
    phase, load = given.params.phases[place], given.workloads[place]
    stretch = training.stretches[place]
    return asdict(spent) | {
        "max_seq_length": phase.max_seq_length,
        "global_batch_sequences": phase.global_batch_sequences,
        "micro_batch_sequences": training.micro_batch(stretch),
        "passes": training.passes(stretch),
        "tokens_per_sequence": update.tokens / update.sequences,
        "tokens_per_second": update.tokens / update.minutes / _SECONDS,
        "flops_per_update": update.flops,
        "epochs": spent.sequences / load.num_examples if load.num_examples else None,
    }


def _evaluation_minutes(
    params: PretrainingParams, total: Amounts, updates: Sequence[Amounts]
) -> float:
    """Of the looks at validation examples: forward passes, a third of an update's FLOPs.

    Each is one of the objective's own losses and one of the common masked-LM loss; at the end every
    token of the pseudo-perplexity is a sequence.
    """
    a_sequence = max(update.minutes / update.sequences for update in updates) / 3
    looks = math.ceil(total.steps / params.eval_interval_steps)
    return a_sequence * (looks * 2 * params.eval_sequences + params.eval_tokens)


def _memory(training: Training, given: Given) -> dict[str, Any]:
    room = _room(given)
    memory = training.memory()
    fits = room.holds(training)
    return (
        asdict(memory)
        | asdict(room)
        | {
            "total_bytes": memory.total + room.reserved_bytes,
            "fits": fits,
            "largest_micro_batch_sequences": largest_micro_batch(training, room),
            "advice": [] if fits else list(advice(training, room, given.machine)),
        }
    )


def _room(given: Given) -> Room:
    """A device's memory; on the CPU this process's size is what the program itself takes."""
    machine = given.machine
    if machine.device_type == "cuda":
        return Room(machine.memory_bytes, RESERVED_ON_GPU_BYTES)
    program = peak_memory_bytes(torch.device("cpu"))
    return Room(machine.memory_bytes / given.execution.processes, program)


def _notes(given: Given, total: Amounts) -> list[str]:
    """What is assumed, and what looks wrong."""
    notes = []
    if given.real is None:
        notes.append(
            "tokens: full sequences are assumed, since artifacts/masking is not there or was made "
            "with other settings"
        )
    warmup = given.params.num_warmup_steps
    if 0 < total.steps <= warmup:
        notes.append(
            f"pretraining.num_warmup_steps is {warmup}, but the budget makes {total.steps:g} "
            "updates: the learning rate never reaches its peak"
        )
    return notes


def read_given(file: Path, machine: Machine, paths: Mapping[str, Path]) -> Given:
    """Read settings and artefacts; `paths` holds those of `INPUTS` that are there.

    Raises: ClozeError: settings or an artefact are wrong.
    """
    values = read_yaml(file)
    for name in ("pretraining", "tokenizer", "masking"):
        if name not in values:
            raise SettingsError(f"{file}: section {name!r} is missing; a plan reads it")
    params = parse_section(PretrainingParams, values["pretraining"], where="pretraining", file=file)
    params, vocabulary = outlined(params, paths.get("tokenizer"), values["tokenizer"])
    lengths = [phase.max_seq_length for phase in params.phases]
    has_examples = all(name in paths for name in INPUTS)
    return Given(
        params,
        vocabulary,
        read_execution(),
        machine,
        [made_up_workload(params, length, vocabulary, values["masking"]) for length in lengths],
        [real_workload(params, length, paths) for length in lengths] if has_examples else None,
    )
