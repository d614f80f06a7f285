"""The contract of an objective: per loss term a sum and a count, never a mean.

What a batch asks for is counted before it is computed (`Work`), so that each term's count over the
whole global batch is known before the first backward pass; the trainer divides each term's sum by
it, whatever the ranks and the accumulation. A mean of means would weigh sequences by where they
happened to run. The same numbers give the FLOPs.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from stages.core.nn.body import use_packed_attention
from stages.core.pinned import ENCODER, encoder_folder
from stages.pretraining.params import PretrainingParams
from stages.pretraining.weights import load_model


@dataclass(frozen=True)
class Work:
    """What a batch asks of a model; padding is not counted."""

    sequences: int = 0
    tokens: int = 0
    squared_lengths: int = 0
    """Sum over the sequences of their length squared: what attention costs."""
    masked: int = 0
    boundaries: int = 0
    """Masked positions whose span has a text token on either side."""
    read: int = 0
    """Positions whose last hidden state is read."""
    read_lengths: int = 0
    """Sum over the read positions of their sequence's length: what attention there costs."""

    def __add__(self, other: "Work") -> "Work":
        mine, theirs = asdict(self), asdict(other)
        return Work(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(frozen=True)
class Loss:
    """One loss term as an objective declares it."""

    weight: float = 1.0
    tallies: tuple[str, ...] = ("correct",)
    """Sums without gradients that come with it, by name."""


@dataclass(frozen=True)
class Term:
    """One loss term over one micro-batch."""

    loss_sum: Tensor
    """Sum of the losses, a scalar that carries gradients."""
    count: int
    """How many losses were summed."""
    tallies: Mapping[str, Tensor] = field(default_factory=dict)
    """Scalars without gradients; `correct` counts right predictions."""


@dataclass(frozen=True)
class Vocabulary:
    """What a new model must know of the tokenizer."""

    vocab_size: int
    special_token_ids: Mapping[str, int]


class Objective(nn.Module, ABC):
    """A system to pre-train: its models, its loss terms, and what is exported.

    A batch's inputs are packed, B sequences of T tokens without padding: input_ids, token_type_ids,
    position_ids (T), from 0 in each sequence; first_index (B), where each begins; masked_index (M),
    ascending positions in T; labels (M); sampling_draws (M), uniform in [0, 1);
    next_sentence_label (B), 1 = random; and for the K masked positions whose span has neighbours:
    boundary_rows (K) into M, left_index, right_index (K) positions of the tokens beside the span,
    and span_position (K), the place in the span from 0. `layout` says where sequences stand. For
    the positions that `reads` names, read_index (R) are those positions, each once, ascending;
    `reading` is their layout, and first_read, masked_read, ... say where in R each one is.
    """

    model_type: str
    """What transformers calls the architecture; a start of another one is refused."""
    terms: Mapping[str, Loss]
    """The loss terms, by name."""
    reads: tuple[str, ...] = ("masked_index",)
    """The inputs that name the positions whose last hidden states the heads read."""

    @classmethod
    @abstractmethod
    def from_scratch(cls, params: PretrainingParams, vocabulary: Vocabulary) -> "Objective":
        """A system with fresh weights."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, params: PretrainingParams) -> tuple["Objective", list[str]]:
        """The system that `save` wrote, or one begun from a transformers checkpoint.

        Returns: it, and the names of weights that the folder lacked and that are fresh.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write `encoder/` in transformers' format, and beside it what else is trained."""

    @property
    @abstractmethod
    def encoder(self) -> Any:
        """The transformers model that is saved as the encoder."""

    @staticmethod
    @abstractmethod
    def counts(work: Work) -> dict[str, int]:
        """How many losses each term sums over a batch."""

    @abstractmethod
    def forward(self, inputs: Mapping[str, Any]) -> dict[str, Term]:
        """The terms of one micro-batch."""

    @abstractmethod
    def masked_lm_logits(self, inputs: Mapping[str, Any]) -> Tensor:
        """Logits (M, V) at the masked positions of the part that models language."""

    @abstractmethod
    def forward_flops(self, work: Work) -> float:
        """Floating point operations of one forward pass, a multiply-add counted as two."""

    def flops(self, work: Work) -> float:
        """Operations of a training step: forward, and twice as many backward."""
        return 3.0 * self.forward_flops(work)

    def measures(self, name: str, sums: Mapping[str, float]) -> dict[str, float]:
        """What is reported of a term beside its loss, from its `count` and tallies."""
        return {f"{name}_accuracy": sums["correct"] / max(1.0, sums["count"])}


class OneModelObjective(Objective):
    """An objective whose one transformers model is the encoder."""

    model_class: Any
    """The transformers class of the model, its heads included."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        use_packed_attention(model)

    @classmethod
    def load(cls, folder: Path, params: PretrainingParams) -> tuple["OneModelObjective", list[str]]:
        """A model from a folder, and the names of weights that it lacked."""
        model, missing = load_model(cls.model_class, encoder_folder(folder), cls.model_type)
        return cls(model), missing

    def save(self, folder: Path) -> None:
        """Write the model with its heads."""
        self.model.save_pretrained(folder / ENCODER)

    @property
    def encoder(self) -> Any:
        """The model with its heads."""
        return self.model


def objective_module(name: str) -> str:
    """The module that holds an objective."""
    return f"{__package__}.objectives.{name}"


def load_objective(name: str) -> type[Objective]:
    """The objective class called `name` in params.yaml."""
    loaded: type[Objective] = import_module(objective_module(name)).OBJECTIVE
    return loaded


def divisors(objective: Objective, work: Work) -> dict[str, int]:
    """Each term's count over a global batch; a term that counts nothing divides by 1, not by 0."""
    return {name: max(1, count) for name, count in objective.counts(work).items()}


def cross_entropy_term(logits: Tensor, labels: Tensor) -> Term:
    """Cross-entropy of (N, classes) logits in float32; an empty batch sums to 0, never NaN."""
    logits = logits.float()
    return Term(
        loss_sum=cross_entropy(logits, labels, reduction="sum"),
        count=len(labels),
        tallies={"correct": (logits.detach().argmax(dim=-1) == labels).sum()},
    )
