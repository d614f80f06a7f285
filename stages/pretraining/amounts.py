"""What a budget buys: the units of a budget turned into each other, by what an update takes."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from stages.pretraining.objective import Objective
from stages.pretraining.params import Phase, PretrainingParams
from stages.pretraining.workload import Workload

_SECONDS = 60.0


@dataclass(frozen=True)
class Amounts:
    """The four units of a budget, and sequences: of an update, a phase or a training."""

    steps: float = 0
    sequences: float = 0
    tokens: float = 0
    flops: float = 0
    minutes: float = 0

    def __add__(self, other: "Amounts") -> "Amounts":
        mine, theirs = asdict(self), asdict(other)
        return Amounts(**{name: mine[name] + theirs[name] for name in mine})

    def times(self, factor: float) -> "Amounts":
        """So many of it."""
        return Amounts(**{name: number * factor for name, number in asdict(self).items()})


def update_amounts(
    objective: Objective, phase: Phase, workload: Workload, seconds: float
) -> Amounts:
    """What one update of a phase takes, over all devices."""
    share = phase.global_batch_sequences / workload.work.sequences
    return Amounts(
        steps=1,
        sequences=phase.global_batch_sequences,
        tokens=workload.work.tokens * share,
        flops=objective.flops(workload.work) * share,
        minutes=seconds / _SECONDS,
    )


def spend(params: PretrainingParams, updates: Sequence[Amounts]) -> list[Amounts]:
    """What each phase takes of the budget, as the ledger spends it.

    A phase ends with the update that reaches its end, so that updates are whole.
    """
    unit, amount = params.budget.unit, params.budget.amount
    spent, end, phases = 0.0, 0.0, []
    for phase, update in zip(params.phases, updates, strict=True):
        end += phase.share_of_budget
        cost = getattr(update, unit)
        number = max(0, math.ceil((amount * (end - 1e-9) - spent) / cost))
        spent += number * cost
        phases.append(update.times(number))
    return phases
