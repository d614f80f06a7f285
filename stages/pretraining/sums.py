"""Running sums of the loss terms, from which means over ranks and steps are read."""

from collections.abc import Mapping

from stages.pretraining import ranks
from stages.pretraining.objective import Objective, Term


class Sums:
    """Sum, number and tallies of each loss term on this rank."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.values = {
            f"{name}.{part}": 0.0
            for name, loss in objective.terms.items()
            for part in ("loss", "count", *loss.tallies)
        }

    def add(self, terms: Mapping[str, Term]) -> None:
        """Add one micro-batch's terms."""
        for name, term in terms.items():
            self.values[f"{name}.loss"] += float(term.loss_sum.detach())
            self.values[f"{name}.count"] += term.count
            for tally, value in term.tallies.items():
                self.values[f"{name}.{tally}"] += float(value)

    def means(self) -> dict[str, float]:
        """Mean loss and measures of each term and the weighted total, over all ranks."""
        total = ranks.sum_over_ranks(self.values)
        means: dict[str, float] = {}
        loss = 0.0
        for name, declared in self.objective.terms.items():
            sums = {part: total[f"{name}.{part}"] for part in ("loss", "count", *declared.tallies)}
            mean = sums["loss"] / max(1.0, sums["count"])
            means[f"{name}_loss"] = mean
            means |= self.objective.measures(name, sums)
            loss += declared.weight * mean
        means["loss"] = loss
        return means
