"""The contract of an objective: per loss term a sum and a count, never a mean.

The loader counts each term over the whole global batch before the first backward pass; the
trainer divides each term's sum by that count, whatever the ranks and the accumulation. A mean of
means would weigh sequences by where they happened to run.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray
from torch import Tensor, nn


@dataclass(frozen=True)
class Term:
    """One loss term over one micro-batch."""

    loss_sum: Tensor
    """Sum of the losses, a scalar that carries gradients."""
    count: int
    """How many losses were summed."""
    correct: Tensor
    """How many predictions were right, a scalar without gradients."""


@dataclass(frozen=True)
class Rows:
    """Examples of one batch before they are built: what a term's count is read from."""

    examples: Shaped[ndarray, "B"]
    num_masked: Shaped[ndarray, "B"]


class Objective(nn.Module, ABC):
    """A system to pre-train: its model, its loss terms, and what is exported.

    `terms` names the loss terms and their weights in the total loss.
    """

    terms: Mapping[str, float]

    @staticmethod
    @abstractmethod
    def counts(rows: Rows) -> dict[str, int]:
        """How many losses each term will sum over these rows."""

    @abstractmethod
    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Term]:
        """The terms of one micro-batch."""

    @property
    @abstractmethod
    def exported(self) -> Any:
        """The transformers model that is saved as the encoder."""


def objective_module(name: str) -> str:
    """The module that holds an objective."""
    return f"{__package__}.objectives.{name}"


def load_objective(name: str) -> type[Objective]:
    """The objective class called `name` in params.yaml."""
    loaded: type[Objective] = import_module(objective_module(name)).OBJECTIVE
    return loaded


def total_counts(objective: type[Objective], rows: Rows) -> dict[str, int]:
    """Counts of a global batch; a term that counts nothing divides by 1, not by 0."""
    return {name: max(1, int(np.int64(n))) for name, n in objective.counts(rows).items()}
