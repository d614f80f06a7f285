"""The facts that a model card tells, and how each kind of number is worded in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN = "unknown"


@dataclass(frozen=True)
class CardFacts:
    """What a card is made from; whatever is missing is told so."""

    manifests: Mapping[str, Mapping[str, Any]]
    """Stage -> its manifest."""
    finetuned: Mapping[str, Mapping[str, Any]]
    """Task -> the manifest of its fine-tuning."""
    evaluation: Mapping[str, Any]
    costs: Mapping[str, float]
    """Metrics of the run that pre-trained the encoder."""
    pipeline: str
    """How transformers calls what the encoder does: fill-mask, feature-extraction."""

    def of(self, stage: str) -> Mapping[str, Any]:
        """A stage's manifest; empty where it is missing."""
        return self.manifests.get(stage, {})


def told(facts: Mapping[str, Any], key: str) -> str:
    """A fact as it stands there."""
    value = facts.get(key)
    return UNKNOWN if value is None else str(value)


def counted(value: Any) -> str:
    """A count, thousands marked."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def megabytes(value: Any) -> str:
    """Bytes in millions."""
    return UNKNOWN if value is None else f"{value / 1e6:,.1f} MB"


def points(value: Any) -> str:
    """A score times 100."""
    return UNKNOWN if value is None else f"{round(100 * value, 1) + 0.0:.1f}"


def with_deviation(spread: Mapping[str, Any]) -> str:
    """Mean and standard deviation over the seeds, times 100."""
    sd = spread.get("sd")
    return points(spread.get("mean")) + ("" if sd is None else f" ± {points(sd)}")


def range_of(ends: Any) -> str:
    """Both ends of an interval, times 100."""
    return UNKNOWN if not ends else f"{points(ends[0])} to {points(ends[1])}"
