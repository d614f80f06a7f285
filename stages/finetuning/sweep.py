"""Every training of a task: settings chosen on dev where a protocol lists several, then all seeds.

Members run side by side as far as the machine has room, each result is kept as it comes, and what
is kept is not trained again. Which members run at once changes no result.
"""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from stages.core.logs import fields
from stages.core.parallel import ordered_map
from stages.finetuning.members import (
    ENCODER,
    SYSTEMS,
    DivergedError,
    Job,
    Member,
    MemberKeys,
    Order,
    Result,
    keep,
    kept,
)
from stages.finetuning.params import Protocol, Training

log = logging.getLogger(__name__)
_BYTES_A_WEIGHT_BYTE = 8  # weights, gradients, two moments, and as much for activations
_MEMORY_SHARE = 0.7
_WORKER = "stages.finetuning.worker"
_NVIDIA = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Searched:
    """One combination of a protocol's values, as the first seed found it."""

    training: Training
    dev_score: float | None
    """None where the loss was no number."""


@dataclass(frozen=True)
class Learnt:
    """What a task's trainings gave for one system."""

    training: Training
    results: Mapping[int, Result]
    """By seed."""
    members: Mapping[int, Member]
    search: tuple[Searched, ...]
    """Empty where the protocol lists one combination."""


class Sweep:
    """The members of one task."""

    def __init__(self, job: Job, keys: MemberKeys, models: Path, at_once: int) -> None:
        self.job, self.keys, self.models, self.at_once = job, keys, models, at_once
        splits = {split: len(examples) for split, examples in job.task.splits.items()}
        self.sizes = {split: size for split, size in splits.items() if split != "train"}

    def learn(self, protocol: Protocol, seeds: Sequence[int]) -> dict[str, Learnt]:
        """Search with the first seed, then train all seeds with the best settings.

        Encoder and twin choose for themselves. Ties go to what the protocol lists first.
        Raises: DivergedError: every combination of a system gave a loss that is no number.
        """
        found = self._search(protocol, seeds[0])
        chosen = {system: _best(tried) for system, tried in found.items()}
        members = {
            (system, seed): self.keys.member(system, chosen[system], seed)
            for seed, system in product(seeds, SYSTEMS)
        }
        results = _all_numbers(self._results(list(members.values()), self.models))
        return {
            system: Learnt(
                training=chosen[system],
                results={seed: results[members[system, seed].key] for seed in seeds},
                members={seed: members[system, seed] for seed in seeds},
                search=tuple(found[system]) if len(found[system]) > 1 else (),
            )
            for system in SYSTEMS
        }

    def model_of(self, member: Member) -> Path:
        """The folder of a member's model; trained again where only its result was kept."""
        folder = self.models / member.key
        if not folder.is_dir():
            log.info("%s", fields("again-for-its-weights", of=member.series))
            self._train([Order(member, folder)])
        return folder

    def _search(self, protocol: Protocol, seed: int) -> dict[str, list[Searched]]:
        """Every combination of the protocol, tried by both systems with one seed."""
        trainings = list(protocol.trainings())
        if len(trainings) == 1:
            return {system: [Searched(trainings[0], None)] for system in SYSTEMS}
        members = [
            self.keys.member(system, training, seed, f"/{_named(training)}")
            for training, system in product(trainings, SYSTEMS)
        ]
        results = self._results(members)
        return {system: _tried(system, members, results) for system in SYSTEMS}

    def _results(
        self, members: Sequence[Member], models: Path | None = None
    ) -> dict[str, Result | DivergedError]:
        """Key -> what was kept of a member, or what its training gives now."""
        results: dict[str, Result | DivergedError] = {}
        for member in members:
            before = kept(member, sizes=self.sizes)
            if before is not None:
                results[member.key] = before
        if results:
            log.info("%s", fields("kept", members=len(results), of=len(members)))
        orders = [
            Order(one, models / one.key if models and one.system == ENCODER else None)
            for one in members
            if one.key not in results
        ]
        return results | self._train(orders)

    def _train(self, orders: Sequence[Order]) -> dict[str, Result | DivergedError]:
        workers = min(self.at_once, len(orders))
        if not workers:
            return {}
        trained = ordered_map(
            _train,
            orders,
            workers=workers,
            initializer=_begin,
            initargs=(self.job,),
            preload=_WORKER,
        )
        return {order.member.key: one for order, one in zip(orders, trained, strict=True)}


def _begin(job: Job) -> None:
    """Load torch where members are trained; the process that plans them needs none."""
    from stages.finetuning import worker

    worker.begin(job)


def _train(order: Order) -> Result | DivergedError:
    """Train a member and keep its result at once, whatever becomes of the others."""
    from stages.finetuning import worker

    result = worker.train_member(order)
    if isinstance(result, Result):
        keep(order.member, result)
    return result


def members_at_once(start: Path, num_members: int, workers: int) -> int:
    """How many trainings the machine has room for: one a device, else by cores and memory."""
    devices = _num_devices()
    if devices:
        return min(devices, num_members)
    weights = sum(file.stat().st_size for file in start.glob("*.safetensors"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    room = int(_MEMORY_SHARE * memory / (_BYTES_A_WEIGHT_BYTE * max(1, weights)))
    return max(1, min(workers, num_members, room))


def _num_devices() -> int:
    if not _NVIDIA.is_dir():
        return 0
    import torch

    return torch.cuda.device_count()  # asks NVML: no context is made here


def _tried(
    system: str, members: Sequence[Member], results: Mapping[str, Result | DivergedError]
) -> list[Searched]:
    """What a system's trainings scored on dev.

    Raises: DivergedError: none of them gave a number; that of the first.
    """
    found, errors = [], []
    for member in members:
        if member.system != system:
            continue
        result = results[member.key]
        if isinstance(result, DivergedError):
            errors.append(result)
            found.append(Searched(member.training, None))
        else:
            found.append(Searched(member.training, result.dev_score))
    if len(errors) == len(found):
        raise DivergedError(f"{system}: {errors[0]}")
    return found


def _all_numbers(results: Mapping[str, Result | DivergedError]) -> dict[str, Result]:
    """The results, if no training ended without one."""
    numbers = {}
    for key, result in results.items():
        if isinstance(result, DivergedError):
            raise result
        numbers[key] = result
    return numbers


def _best(tried: Sequence[Searched]) -> Training:
    scores = [-math.inf if one.dev_score is None else one.dev_score for one in tried]
    return tried[scores.index(max(scores))].training


def _named(training: Training) -> str:
    return (
        f"batch-{training.batch_sequences}-epochs-{training.num_epochs}"
        f"-rate-{training.learning_rate:g}"
    )
