"""What decides the masks of an example, in one value that a manifest can hold."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jaxtyping import Int64
from numpy import ndarray


@dataclass(frozen=True)
class MaskSettings:
    """How positions are chosen and what is shown there."""

    unit: str
    """token, whole-word or span."""
    mlm_probability: float
    budget_rounding: str
    """nearest: max(1, round(p n)); random: floor(p n + U[0, 1))."""
    mask_token_probability: float
    random_token_probability: float
    span_geometric_probability: float | None
    max_span_words: int | None
    seed: int

    def describe(self) -> dict[str, Any]:
        """The settings as JSON for a manifest."""
        return asdict(self)


def mask_settings(described: Mapping[str, Any]) -> MaskSettings:
    """The settings that `describe` wrote."""
    return MaskSettings(**described)


@dataclass(frozen=True)
class MaskVocabulary:
    """The ids that masks put in place of what is chosen."""

    mask_token_id: int
    replacement_ids: Int64[ndarray, "num_words"]
    """What a random replacement may be: no special, no unused."""
