"""One training: a classifier on an encoder or on its random twin, and what it predicts.

Both systems go through the same code with the same settings, seeds and order of examples; they
differ in their initial weights alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy import ndarray
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from transformers import AutoConfig, AutoModelForSequenceClassification

from stages.core.artifacts import read_json
from stages.core.errors import ArtifactError, SettingsError
from stages.core.nn.optimizer import clip_gradients, linear_schedule
from stages.core.random import Draws
from stages.finetuning.features import Features, shuffled_batches, sorted_batches
from stages.finetuning.layerwise import layerwise_groups
from stages.finetuning.params import TaskSettings
from stages.finetuning.task import TRAIN, Task

_MAX_GRAD_NORM = 1.0  # Devlin et al. 2019 train and fine-tune with it
_ADAM_EPSILON = 1e-6
_PREDICTION_SEQUENCES = 256
_NEW_WEIGHTS = ("classifier.", "score.")
# An encoder pre-trained without next sentence prediction has no pooler: it belongs to the head.
_WITHOUT_POOLER = ("BertForMaskedLM",)
_POOLER = "bert.pooler."


class DivergedError(SettingsError):
    """The loss is no longer a number: the settings ask for too much."""


@dataclass(frozen=True)
class Update:
    """One update of the weights."""

    step: int  # from 1
    epoch: int  # from 1
    loss: float  # mean over the batch, before the update
    is_last_of_epoch: bool


def load_encoder(start: Path, task: Task, seed: int) -> nn.Module:
    """The start with a fresh head for the task, drawn with `seed`; only the head may be new.

    Raises: ArtifactError: the checkpoint cannot be read, or lacks weights of the encoder itself.
    """
    torch.manual_seed(seed)
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            start,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=True,
            dtype=torch.float32,
            **_head(task),
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ArtifactError(
            f"{start}: not readable as a checkpoint ({error}); export the encoder again"
        ) from error
    trained_as = read_json(start / "config.json").get("architectures") or [""]
    new = (*_NEW_WEIGHTS, _POOLER) if trained_as[0] in _WITHOUT_POOLER else _NEW_WEIGHTS
    lacking = [name for name in report["missing_keys"] if not name.startswith(new)]
    lacking += [name for name, *_ in report["mismatched_keys"] if not name.startswith(new)]
    if lacking:
        raise ArtifactError(
            f"{start}: lacks weights of the encoder ({', '.join(sorted(lacking)[:5])}); they would "
            "start at random: export the encoder again"
        )
    return model


def make_twin(start: Path, task: Task, seed: int) -> nn.Module:
    """A model of the same architecture with random weights, drawn with `seed`."""
    torch.manual_seed(seed)
    config = AutoConfig.from_pretrained(start, local_files_only=True, **_head(task))
    return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)


def _head(task: Task) -> dict[str, Any]:
    names = task.class_names or (task.name,)
    return {
        "num_labels": task.num_outputs,
        "problem_type": "regression" if task.is_regression else "single_label_classification",
        "id2label": dict(enumerate(names)),
        "label2id": {name: number for number, name in enumerate(names)},
    }


def train(
    model: nn.Module, features: Features, task: Task, settings: TaskSettings, *, seed: int
) -> Iterator[Update]:
    """Train in place, update by update; the caller may look at the model between two of them.

    `seed` keys the order of the examples and dropout.
    Raises: DivergedError: a loss is not finite.
    """
    torch.manual_seed(seed)
    model.to(_device())
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
    logits = model(**_placed(features.batch(chosen))).logits
    wanted = torch.from_numpy(task.labels(TRAIN)[chosen]).to(logits.device)
    if task.is_regression:
        return mse_loss(logits[:, 0], wanted.float())
    return cross_entropy(logits, wanted.long())


@torch.no_grad()
def predict(model: nn.Module, features: Features) -> Float64[ndarray, "N C"]:
    """The head's outputs for every example, in the order of the examples."""
    model.eval()
    order = list(sorted_batches(features.lengths, _PREDICTION_SEQUENCES))
    logits = [model(**_placed(features.batch(chosen))).logits.double().cpu() for chosen in order]
    outputs = np.empty((len(features.lengths), logits[0].shape[1]))
    outputs[np.concatenate(order)] = torch.cat(logits).numpy()
    return outputs


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _placed(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(_device(), non_blocking=True) for name, value in batch.items()}
