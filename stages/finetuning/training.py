"""One training: a classifier on an encoder or on its random twin, and what it predicts.

Both systems go through the same code with the same settings, seeds and order of examples; they
differ in their initial weights alone.
"""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from transformers import AutoConfig, AutoModelForSequenceClassification

from stages.core.errors import ArtifactError, ClozeError
from stages.core.nn.optimizer import clip_gradients, linear_schedule, parameter_groups
from stages.core.random import Draws
from stages.finetuning.features import Features, shuffled_batches, sorted_batches
from stages.finetuning.params import TaskSettings
from stages.finetuning.task import Task

log = logging.getLogger(__name__)
_MAX_GRAD_NORM = 1.0  # Devlin et al. 2019 train and fine-tune with it
_ADAM_EPSILON = 1e-6
_PREDICTION_SEQUENCES = 256
_NEW_WEIGHTS = ("classifier.", "score.")


class DivergedError(ClozeError):
    """The loss is no longer a number."""


def load_encoder(start: Path, task: Task) -> nn.Module:
    """The start with a fresh head for the task; only the head may be new.

    Raises: ArtifactError: the checkpoint lacks weights of the encoder itself.
    """
    model, report = AutoModelForSequenceClassification.from_pretrained(
        start, output_loading_info=True, ignore_mismatched_sizes=True, **_head(task)
    )
    lacking = [name for name in report["missing_keys"] if not name.startswith(_NEW_WEIGHTS)]
    lacking += [name for name, *_ in report["mismatched_keys"] if not name.startswith(_NEW_WEIGHTS)]
    if lacking:
        raise ArtifactError(
            f"{start}: lacks weights of the encoder ({', '.join(sorted(lacking)[:5])}); they would "
            "start at random: export the encoder again"
        )
    return model


def make_twin(start: Path, task: Task) -> nn.Module:
    """A model of the same architecture with random weights."""
    return AutoModelForSequenceClassification.from_config(
        AutoConfig.from_pretrained(start, **_head(task))
    )


def _head(task: Task) -> dict[str, Any]:
    names = task.class_names or (task.name,)
    return {
        "num_labels": task.num_outputs,
        "problem_type": "regression" if task.is_regression else "single_label_classification",
        "id2label": dict(enumerate(names)),
        "label2id": {name: number for number, name in enumerate(names)},
    }


def train(
    model: nn.Module,
    features: Features,
    labels: Float64[ndarray, "N"],
    settings: TaskSettings,
    *,
    is_regression: bool,
    seed: int,
    after_epoch: Callable[[int, float], None],
) -> None:
    """Train in place; `after_epoch` gets the number of the epoch and its mean loss.

    Raises: DivergedError: a loss is not finite.
    """
    device = _device()
    model.to(device).train()
    optimizer = torch.optim.AdamW(
        parameter_groups(model, settings.weight_decay),
        lr=settings.learning_rate,
        eps=_ADAM_EPSILON,
        fused=True,
    )
    draws = Draws(seed, "finetuning.order")
    num_batches = len(
        shuffled_batches(features.lengths, settings.batch_sequences, draws=draws, epoch=0)
    )
    max_steps = settings.num_epochs * num_batches
    num_warmup_steps = round(settings.warmup_fraction * max_steps)
    step = 0
    for epoch in range(settings.num_epochs):
        total = 0.0
        batches = shuffled_batches(
            features.lengths, settings.batch_sequences, draws=draws, epoch=epoch
        )
        for chosen in batches:
            loss = _loss(model, features, labels, chosen, is_regression=is_regression)
            if not math.isfinite(loss.item()):
                raise DivergedError(
                    f"the loss is {loss.item()} in update {step + 1} of {max_steps}; lower "
                    f"finetuning's learning_rate ({settings.learning_rate:g})"
                )
            loss.backward()
            clip_gradients(model.parameters(), _MAX_GRAD_NORM)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * linear_schedule(
                    step, num_warmup_steps, max_steps
                )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            total += loss.item() * len(chosen)
            step += 1
        after_epoch(epoch + 1, total / len(labels))


def _loss(
    model: nn.Module,
    features: Features,
    labels: Float64[ndarray, "N"],
    chosen: ndarray,
    *,
    is_regression: bool,
) -> Tensor:
    """Mean loss of a batch: squared error of scores, cross-entropy of classes."""
    logits = model(**_placed(features.batch(chosen))).logits.float()
    wanted = torch.from_numpy(labels[chosen]).to(logits.device)
    if is_regression:
        return mse_loss(logits[:, 0], wanted.float())
    return cross_entropy(logits, wanted.long())


@torch.no_grad()
def predict(model: nn.Module, features: Features) -> Float64[ndarray, "N C"]:
    """The head's outputs for every example, in the order of the examples."""
    model.eval()
    outputs: ndarray | None = None
    for chosen in sorted_batches(features.lengths, _PREDICTION_SEQUENCES):
        logits = model(**_placed(features.batch(chosen))).logits.double().cpu().numpy()
        if outputs is None:
            outputs = np.zeros((len(features.lengths), logits.shape[1]))
        outputs[chosen] = logits
    model.train()
    return np.zeros((0, 1)) if outputs is None else outputs


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _placed(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(_device(), non_blocking=True) for name, value in batch.items()}
