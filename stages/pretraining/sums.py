"""Running sums of the loss terms, from which means over ranks and steps are read."""

from collections.abc import Mapping

from stages.pretraining import ranks
from stages.pretraining.objective import Term


class Sums:
    """Sum, number and right predictions of each loss term on this rank."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = dict(weights)
        self.values = {
            f"{name}.{part}": 0.0 for name in weights for part in ("loss", "correct", "count")
        }

    def add(self, name: str, term: Term) -> None:
        """Add one micro-batch's term."""
        self.values[f"{name}.loss"] += float(term.loss_sum.detach())
        self.values[f"{name}.correct"] += float(term.correct)
        self.values[f"{name}.count"] += term.count

    def means(self) -> dict[str, float]:
        """Mean loss and accuracy of each term and the weighted total, over all ranks."""
        total = ranks.sum_over_ranks(self.values)
        means: dict[str, float] = {}
        for name in self.weights:
            count = max(1.0, total[f"{name}.count"])
            means[f"{name}_loss"] = total[f"{name}.loss"] / count
            means[f"{name}_accuracy"] = total[f"{name}.correct"] / count
        means["loss"] = sum(weight * means[f"{name}_loss"] for name, weight in self.weights.items())
        return means
