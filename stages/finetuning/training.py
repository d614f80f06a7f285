"""One training: a classifier on an encoder or on its random twin, and what it predicts.

Both systems go through the same code with the same settings, seeds and order of examples; they
differ in their initial weights alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy import ndarray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from stages.core.errors import SettingsError
from stages.core.nn.dropout import Noise, replace_dropout
from stages.core.nn.optimizer import clip_gradients, linear_schedule
from stages.core.random import Draws
from stages.finetuning.classifier import outputs_of
from stages.finetuning.features import Features, shuffled_batches, sorted_batches
from stages.finetuning.layerwise import layerwise_groups
from stages.finetuning.params import TaskSettings
from stages.finetuning.task import TRAIN, Task

_MAX_GRAD_NORM = 1.0  # Devlin et al. 2019 train and fine-tune with it
_ADAM_EPSILON = 1e-6
_PREDICTION_SEQUENCES = 256


class DivergedError(SettingsError):
    """The loss is no longer a number: the settings ask for too much."""


@dataclass(frozen=True)
class Update:
    """One update of the weights."""

    step: int  # from 1
    epoch: int  # from 1
    loss: float  # mean over the batch, before the update
    is_last_of_epoch: bool


def train(
    model: nn.Module, features: Features, task: Task, settings: TaskSettings, *, seed: int
) -> Iterator[Update]:
    """Train in place, update by update; the caller may look at the model between two of them.

    `seed` keys the order of the examples and dropout.
    Raises: DivergedError: a loss is not finite.
    """
    torch.manual_seed(seed)
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    noise = Noise(seed, 0)
    if not torch.cuda.is_available():
        replace_dropout(model, noise)
    optimizer = torch.optim.AdamW(
        layerwise_groups(model, settings.weight_decay, settings.layerwise_lr_decay),
        lr=settings.learning_rate,
        eps=_ADAM_EPSILON,
        fused=True,
    )
    draws = Draws(seed, "finetuning.order")
    num_batches = math.ceil(len(features.lengths) / settings.batch_sequences)
    max_steps = settings.num_epochs * num_batches
    num_warmup_steps = round(settings.warmup_fraction * max_steps)
    step = 0
    for epoch in range(settings.num_epochs):
        for chosen in shuffled_batches(
            features.lengths, settings.batch_sequences, draws=draws, epoch=epoch
        ):
            model.train()
            noise.start(step, 0)
            loss = batch_loss(model, features, task, chosen)
            if not math.isfinite(loss.item()):
                raise DivergedError(
                    f"the loss of {task.name} is {loss.item()} in update {step + 1} of "
                    f"{max_steps}, with learning rates up to {settings.learning_rate:g}; lower "
                    f"finetuning.tasks.{task.name}.learning_rate"
                )
            loss.backward()
            clip_gradients(model.parameters(), _MAX_GRAD_NORM)
            factor = linear_schedule(step, num_warmup_steps, max_steps)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * factor * group["rate_factor"]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            yield Update(step, epoch + 1, loss.item(), step % num_batches == 0)


def batch_loss(
    model: nn.Module, features: Features, task: Task, chosen: Int64[ndarray, "B"]
) -> Tensor:
    """Mean loss of these training examples: squared error of scores, cross-entropy of classes."""
    examples, logits = outputs_of(model, features, chosen)
    wanted = torch.from_numpy(task.labels(TRAIN)[examples]).to(logits.device)
    if task.is_regression:
        return mse_loss(logits[:, 0], wanted.float())
    return cross_entropy(logits, wanted.long())


@torch.no_grad()
def predict(model: nn.Module, features: Features) -> Float64[ndarray, "N C"]:
    """The head's outputs for every example, in the order of the examples."""
    model.eval()
    parts = [
        outputs_of(model, features, chosen)
        for chosen in sorted_batches(features.lengths, _PREDICTION_SEQUENCES)
    ]
    outputs = np.empty((len(features.lengths), parts[0][1].shape[1]))
    for examples, logits in parts:
        outputs[examples] = logits.double().cpu().numpy()
    return outputs
