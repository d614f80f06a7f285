"""The budget of a training: how much is spent, in which phase, and at which learning rate.

Progress is what is spent of the budget's unit, whatever the unit: it chooses the phase, and the
learning rate falls with it, to 0 when the budget is spent. All of it is saved in checkpoints, so
that a resumed training goes on where it stood, also on the clock.
"""

from dataclasses import asdict, dataclass

from stages.pretraining.objective import Work
from stages.pretraining.params import PretrainingParams

_SECONDS = 60.0


@dataclass
class Spent:
    """What a training has used up, over all ranks."""

    steps: int = 0
    sequences: int = 0
    tokens: int = 0
    flops: float = 0.0
    minutes: float = 0.0
    joules: float = 0.0
    """Energy, as far as the machine tells it."""


@dataclass
class Ledger:
    """Where a training stands."""

    params: PretrainingParams
    spent: Spent
    phase: int = 0
    phase_first_step: int = 0
    spent_at_warmup: float = 0.0
    """Spent in the budget's unit when the warm-up ended: holds for a longer budget too."""

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        return self._share(getattr(self.spent, self.params.budget.unit))

    def _share(self, spent: float) -> float:
        amount = self.params.budget.amount
        return min(1.0, spent / amount) if amount else 1.0

    @property
    def is_spent(self) -> bool:
        """Whether the training is at its end."""
        return self.progress >= 1.0

    def learning_rate(self) -> float:
        """Rate of the next update: rises over num_warmup_steps, then falls to 0 at the end.

        Source: Devlin et al. 2019, appendix A.2; in steps it is their schedule.
        """
        peak, warmup = self.params.learning_rate, self.params.num_warmup_steps
        if self.spent.steps < warmup:
            return peak * (self.spent.steps + 1) / (warmup + 1)
        return peak * (1.0 - self.progress) / max(1e-9, 1.0 - self._share(self.spent_at_warmup))

    def enter_update(self) -> None:
        """Move on to the phase and to the part of the schedule that the next update is in."""
        if self.spent.steps == self.params.num_warmup_steps:
            self.spent_at_warmup = getattr(self.spent, self.params.budget.unit)
        end = sum(phase.share_of_budget for phase in self.params.phases[: self.phase + 1])
        while self.progress >= end - 1e-9 and self.phase + 1 < len(self.params.phases):
            self.phase += 1
            self.phase_first_step = self.spent.steps
            end += self.params.phases[self.phase].share_of_budget

    def book(self, work: Work, *, flops: float, seconds: float, joules: float) -> None:
        """Count one finished update."""
        self.spent.steps += 1
        self.spent.sequences += work.sequences
        self.spent.tokens += work.tokens
        self.spent.flops += flops
        self.spent.minutes += seconds / _SECONDS
        self.spent.joules += joules

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps."""
        return {
            "spent": asdict(self.spent),
            "phase": self.phase,
            "phase_first_step": self.phase_first_step,
            "spent_at_warmup": self.spent_at_warmup,
        }

    def restore(self, state: dict[str, object]) -> None:
        """Go on from a checkpoint."""
        for name, value in state.items():
            setattr(self, name, Spent(**value) if isinstance(value, dict) else value)
