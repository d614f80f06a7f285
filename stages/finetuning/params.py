"""Section `finetuning` of params.yaml: which tasks, by which protocol, from which start."""

from collections.abc import Iterator
from itertools import product
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from stages.core.settings import Section
from stages.finetuning.extraction import ExtractionSettings

T = TypeVar("T")


def _listed(value: Any) -> Any:
    """A single value as the list of one."""
    return value if isinstance(value, list | tuple) else [value]


Choices = Annotated[tuple[T, ...], BeforeValidator(_listed), Field(strict=False, min_length=1)]
_Count = Annotated[int, Field(ge=1)]
_Rate = Annotated[float, Field(gt=0, le=1)]


class Training(Section):
    """What one training is set to."""

    batch_sequences: _Count
    num_epochs: _Count
    learning_rate: _Rate
    warmup_fraction: float
    weight_decay: float
    layerwise_lr_decay: float
    early_stop_epochs: int | None


class Protocol(Section):
    """Named settings of fine-tuning; where several values are listed, the best on dev is taken."""

    batch_sequences: Choices[_Count]
    """Sequences per update; a number, or a list to choose from."""
    num_epochs: Choices[_Count]
    """Passes over the training examples; a number, or a list to choose from."""
    learning_rate: Choices[_Rate]
    """Peak learning rate, which falls linearly to 0; a number, or a list to choose from."""
    warmup_fraction: float = Field(ge=0, lt=1)
    """Share of all updates over which the rate rises to its peak."""
    weight_decay: float = Field(ge=0, lt=1)
    """Decoupled decay of matrices and embeddings, not of LayerNorm and biases."""
    layerwise_lr_decay: float = Field(gt=0, le=1)
    """Each lower layer learns at this share of the rate of the one above; 1 for all alike."""
    early_stop_epochs: int | None = Field(ge=1)
    """Epochs without a better dev score that end a training, whose best epoch is then taken; null
    takes the last."""

    def trainings(self) -> Iterator[Training]:
        """Every combination of the listed values."""
        for batch, epochs, rate in product(
            self.batch_sequences, self.num_epochs, self.learning_rate
        ):
            yield Training(
                batch_sequences=batch,
                num_epochs=epochs,
                learning_rate=rate,
                warmup_fraction=self.warmup_fraction,
                weight_decay=self.weight_decay,
                layerwise_lr_decay=self.layerwise_lr_decay,
                early_stop_epochs=self.early_stop_epochs,
            )

    @model_validator(mode="after")
    def _check(self) -> "Protocol":
        for name in ("batch_sequences", "num_epochs", "learning_rate"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} lists a value twice: {list(values)}")
        return self


class TaskSettings(Section):
    """How one task is learnt."""

    start: str = Field(min_length=1)
    """Folder of the encoder to start from; DVC watches it. A task's model
    (artifacts/finetuning/MNLI/model) gives its encoder, and its head is left behind."""
    protocol: str = Field(min_length=1)
    """Name of one of `finetuning.protocols`."""
    max_train_examples: int | None = Field(ge=1)
    """Most training examples that are used, drawn at random; null takes all."""
    max_seq_length: int = Field(ge=8)
    """Tokens that a text or pair is cut to, special tokens counted."""
    extraction: ExtractionSettings | None = None
    """Of a task whose answers are pieces of a context (SQuAD), and of no other."""


class FinetuningParams(Section):
    """Settings of the finetuning stage."""

    mode: Literal["full", "frozen"]
    """full: all weights are trained. frozen: the encoder only gives features, and a head learns."""
    features: Literal["last", "mean", "weighted"] | None
    """For mode frozen, else null. last: the last layer at the first token. mean: the last layer,
    mean over the tokens. weighted: the same of a learnt weighted sum of all layers."""
    seeds: tuple[int, ...] = Field(strict=False, min_length=1)
    """One training of the encoder and one of its random twin for each."""
    protocols: dict[str, Protocol] = Field(min_length=1)
    """Name -> settings of a training, or several to choose from on dev."""
    tasks: dict[str, TaskSettings] = Field(min_length=1)
    """Task name -> how it is learnt; only these are learnt."""

    @model_validator(mode="after")
    def _check(self) -> "FinetuningParams":
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds lists a seed twice: {list(self.seeds)}")
        if (self.mode == "frozen") != (self.features is not None):
            raise ValueError(
                f"mode is {self.mode} and features {self.features}; frozen needs one of last, "
                "mean, weighted, and full none (null)"
            )
        for name, task in self.tasks.items():
            if task.protocol not in self.protocols:
                raise ValueError(
                    f"tasks.{name}.protocol is {task.protocol!r}, expected one of "
                    f"finetuning.protocols: {', '.join(self.protocols)}"
                )
        return self
