"""One training of a model that learns a task, on the encoder or on its random twin.

Both systems go through the same code with the same settings, seeds and order of examples; they
differ in their initial weights alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float64, Int64
from numpy import ndarray
from torch import Tensor, nn

from stages.core.nn.dropout import Noise, replace_dropout
from stages.core.nn.optimizer import clip_gradients, linear_schedule
from stages.core.random import Draws
from stages.finetuning.batches import shuffled_batches
from stages.finetuning.layerwise import layerwise_groups
from stages.finetuning.members import DivergedError
from stages.finetuning.params import Training
from stages.finetuning.seen_words import SeenWords
from stages.finetuning.task import Task

_MAX_GRAD_NORM = 1.0  # Devlin et al. 2019 train and fine-tune with it
_ADAM_EPSILON = 1e-6


@dataclass(frozen=True)
class Update:
    """One update of the weights."""

    step: int  # from 1
    epoch: int  # from 1
    loss: float  # mean over the batch, before the update
    is_last_of_epoch: bool


@runtime_checkable
class Learner(Protocol):
    """A model that learns a task: what a training asks of it."""

    model: nn.Module
    task: Task

    def begin(self, features: Any) -> SeenWords | None:
        """Make the model ready to learn these examples; before an optimiser has its weights.

        Returns: the words' embeddings, where those of unseen words are left to `decay_unseen`.
        """

    def loss(self, features: Any, chosen: Int64[ndarray, "B"]) -> Tensor:
        """Mean loss of these training examples."""

    def predict(self, features: Any) -> Float64[ndarray, "N C"]:
        """What the model says of every example of a split, in their order."""

    def save(self, folder: Path) -> None:
        """Write the model so that transformers loads it."""


def train(learner: Learner, features: Any, training: Training, *, seed: int) -> Iterator[Update]:
    """Train in place, update by update; the caller may look at the model between two of them.

    `features`: those of the training examples, with their `lengths`.

    `seed` keys the order of the examples and dropout.
    Raises: DivergedError: a loss is not finite.
    """
    torch.manual_seed(seed)
    model, name = learner.model, learner.task.name
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    words = learner.begin(features)
    noise = Noise(seed, 0)
    if not torch.cuda.is_available():
        replace_dropout(model, noise)
    optimizer = torch.optim.AdamW(
        layerwise_groups(model, training.weight_decay, training.layerwise_lr_decay),
        lr=training.learning_rate,
        eps=_ADAM_EPSILON,
        fused=True,
    )
    of_words = _group_of(words.rows, optimizer) if words is not None else {}
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    draws = Draws(seed, "finetuning.order")
    num_batches = math.ceil(len(features.lengths) / training.batch_sequences)
    max_steps = training.num_epochs * num_batches
    num_warmup_steps = round(training.warmup_fraction * max_steps)
    step = 0
    for epoch in range(training.num_epochs):
        for chosen in shuffled_batches(
            features.lengths, training.batch_sequences, draws=draws, epoch=epoch
        ):
            if not model.training:  # walking all modules costs as much as AdamW
                model.train()
            noise.start(step, 0)
            loss = learner.loss(features, chosen)
            if not math.isfinite(loss.item()):
                raise DivergedError(
                    f"the loss of {name} is {loss.item()} in update {step + 1} of "
                    f"{max_steps}, with learning rates up to {training.learning_rate:g}; lower "
                    f"the learning_rate of the protocol of finetuning.tasks.{name}"
                )
            loss.backward()
            clip_gradients(weights, _MAX_GRAD_NORM)
            factor = linear_schedule(step, num_warmup_steps, max_steps)
            for group in optimizer.param_groups:
                group["lr"] = training.learning_rate * factor * group["rate_factor"]
            if words is not None:
                words.decay_unseen(of_words["lr"], of_words["weight_decay"])
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            yield Update(step, epoch + 1, loss.item(), step % num_batches == 0)


def _group_of(weight: Tensor, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    groups = optimizer.param_groups
    return next(group for group in groups if any(one is weight for one in group["params"]))


@torch.no_grad()
def predict(learner: Learner, features: Any) -> Float64[ndarray, "N C"]:
    """What the model says of every example of a split, in their order, without dropout."""
    learner.model.eval()
    return learner.predict(features)
