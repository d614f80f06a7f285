"""Whether a training fits into a device's memory, and what would fit where it does not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stages.core.execution import Execution
from stages.pretraining.machines import MACHINES, Machine
from stages.pretraining.memory import Memory, Setting, training_memory
from stages.pretraining.objective import Objective, Work
from stages.pretraining.workload import scaled

_GIB = 2.0**30
_MOST_PROCESSES = 64


@dataclass(frozen=True)
class Stretch:
    """A phase as memory sees it."""

    global_batch_sequences: int
    full: Work
    """Of full sequences of its length."""


@dataclass(frozen=True)
class Training:
    """What decides the memory of a device, beside the device."""

    objective: Objective
    stretches: Sequence[Stretch]
    setting: Setting
    execution: Execution

    def share(self, stretch: Stretch) -> int:
        """Most sequences of a global batch that a process has."""
        return -(-stretch.global_batch_sequences // self.execution.processes)

    def passes(self, stretch: Stretch) -> int:
        """Passes that a process computes its share in."""
        return -(-self.share(stretch) // self.execution.micro_batch_sequences)

    def micro_batch(self, stretch: Stretch) -> int:
        """Most sequences that a process has in one pass: its share, cut into equal pieces."""
        return -(-self.share(stretch) // self.passes(stretch))

    def memory(self) -> Memory:
        """Of one device, in the phase that takes most."""
        each = [
            training_memory(
                self.objective,
                scaled(stretch.full, self.micro_batch(stretch)),
                self.setting,
                processes=self.execution.processes,
                is_sharded=self.execution.shards_optimizer,
            )
            for stretch in self.stretches
        ]
        return max(each, key=lambda memory: memory.total)

    def with_execution(self, **changes: Any) -> "Training":
        """The same training, executed otherwise."""
        return replace(self, execution=replace(self.execution, **changes))


@dataclass(frozen=True)
class Room:
    """What one process has of a device."""

    available_bytes: float
    reserved_bytes: float
    """Of it, for the program itself before it holds any tensor."""

    def holds(self, training: Training) -> bool:
        """Whether a training fits."""
        return training.memory().total + self.reserved_bytes <= self.available_bytes


def largest_micro_batch(training: Training, room: Room) -> int:
    """The largest CLOZE_MICRO_BATCH_SEQUENCES that fits, at most a process's share; 0 for none."""
    low, high = 0, max(map(training.share, training.stretches))
    while low < high:
        middle = (low + high + 1) // 2
        if room.holds(training.with_execution(micro_batch_sequences=middle)):
            low = middle
        else:
            high = middle - 1
    return low


def advice(training: Training, room: Room, machine: Machine) -> Iterator[str]:
    """What would fit instead, the least change first."""
    largest = largest_micro_batch(training, room)
    if largest:
        number = 1 << (largest.bit_length() - 1)
        smaller = training.with_execution(micro_batch_sequences=number)
        how = f"CLOZE_MICRO_BATCH_SEQUENCES={number}"
        yield f"fits: {how}, {_shown(smaller, room)}, the same result"
    if machine.device_type == "cuda":
        yield from _advice_for_gpus(training, room, machine)
    if not largest:
        alone = training.with_execution(micro_batch_sequences=1).memory()
        yield (
            f"no micro-batch fits: weights, gradients and optimiser alone take "
            f"{(alone.weights + alone.gradients + alone.optimizer) / _GIB:.1f} GiB; choose a "
            "smaller pretraining.model, or a device with more memory"
        )


def _advice_for_gpus(training: Training, room: Room, machine: Machine) -> Iterator[str]:
    """More devices, a narrower format, another machine."""
    yield from _more_devices(training, room)
    is_narrow = training.setting.product_bytes == 2
    narrow = replace(training, setting=replace(training.setting, product_bytes=2))
    has_units = machine.peaks is None or "bfloat16" in machine.peaks
    if not is_narrow and has_units and room.holds(narrow):
        yield f"fits: pretraining.precision=bfloat16, {_shown(narrow, room)}, other rounding"
    names = [
        name
        for name, other in MACHINES.items()
        if ("bfloat16" if is_narrow else "float32") in (other.peaks or {})
        and replace(room, available_bytes=other.memory_bytes).holds(training)
    ]
    if names:
        yield f"fits: as it is, on {', '.join(names)}"


def _more_devices(training: Training, room: Room) -> Iterator[str]:
    """The fewest that a global batch fits on; the optimiser sharded where it must be."""
    for is_sharded in (False, True):
        processes = 2 * training.execution.processes
        while processes <= _MOST_PROCESSES:
            spread = training.with_execution(processes=processes, shards_optimizer=is_sharded)
            if room.holds(spread):
                switch = "CLOZE_SHARD_OPTIMIZER=1 " if is_sharded else ""
                how = f"{switch}CLOZE_PROCESSES={processes} with a device each"
                yield f"fits: {how}, {_shown(spread, room)}"
                return
            processes *= 2


def _shown(training: Training, room: Room) -> str:
    """The memory that it takes, and in how many passes."""
    passes = max(map(training.passes, training.stretches))
    total = training.memory().total + room.reserved_bytes
    return f"{total / _GIB:.1f} GiB in {passes} pass{'es' if passes > 1 else ''} an update"
