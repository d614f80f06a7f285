"""Section `finetuning` of params.yaml: which tasks, with which settings, from which start."""

from typing import Literal

from pydantic import Field, model_validator

from stages.core.settings import Section


class TaskSettings(Section):
    """How one task is learnt."""

    start: str = Field(min_length=1)
    """Folder of the encoder to start from; DVC watches it."""
    max_train_examples: int | None = Field(ge=1)
    """Most training examples that are used, drawn at random; null takes all."""
    max_seq_length: int = Field(ge=8)
    """Tokens that a text or pair is cut to, special tokens counted."""
    batch_sequences: int = Field(ge=1)
    """Sequences per update."""
    num_epochs: int = Field(ge=1)
    """Passes over the training examples."""
    learning_rate: float = Field(gt=0, le=1)
    """Peak learning rate; it falls linearly to 0."""
    warmup_fraction: float = Field(ge=0, lt=1)
    """Share of all updates over which the rate rises to its peak."""
    weight_decay: float = Field(ge=0, lt=1)
    """Decoupled decay of matrices and embeddings, not of LayerNorm and biases."""
    layerwise_lr_decay: float = Field(gt=0, le=1)
    """Each lower layer learns at this share of the rate of the one above; 1 for all alike."""


class FinetuningParams(Section):
    """Settings of the finetuning stage."""

    mode: Literal["full"]
    """full: all weights are trained."""
    seeds: tuple[int, ...] = Field(strict=False, min_length=1)
    """One training of the encoder and one of its random twin for each."""
    tasks: dict[str, TaskSettings] = Field(min_length=1)
    """Task name -> how it is learnt; only these are learnt."""

    @model_validator(mode="after")
    def _check(self) -> "FinetuningParams":
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds lists a seed twice: {list(self.seeds)}")
        return self
