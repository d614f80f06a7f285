"""A classifier on an encoder or on its random twin, and its outputs without padding.

The models are transformers' own. Where the encoder is one of those that `stages.core.nn.body` knows
(BERT, RoBERTa, ELECTRA), batches are packed and the last layer is computed at the first token of
each example alone, which changes no output; any other is given padded batches.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
)

from stages.core.artifacts import read_json
from stages.core.errors import ArtifactError
from stages.core.nn.body import encode, use_packed_attention
from stages.core.nn.layout import moved
from stages.finetuning.batches import Packed, packed_batch, padded_batch, sorted_batches
from stages.finetuning.features import Features
from stages.finetuning.seen_words import SeenWords, learn_seen_words, restore_words
from stages.finetuning.task import TRAIN, Task

_NEW_WEIGHTS = ("classifier.", "score.", "qa_outputs.")
# An encoder pre-trained without next sentence prediction has no pooler: it belongs to the head.
_WITHOUT_POOLER = ("BertForMaskedLM",)
_POOLER = "bert.pooler."
PACKED = ("bert", "roberta", "electra")
_OF_A_TASK = ("ForSequenceClassification", "ForQuestionAnswering")
_PREDICTION_SEQUENCES = 256


def load_encoder(start: Path, task: Task, seed: int) -> nn.Module:
    """The start with a fresh head for the task, drawn with `seed`; only the head may be new.

    A start that is a task's model gives its encoder, its pooler included; its head stays behind.
    Raises: ArtifactError: the checkpoint cannot be read, or lacks weights of the encoder itself.
    """
    torch.manual_seed(seed)
    try:
        model, report = _class_of(task).from_pretrained(
            start,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=True,
            dtype=torch.float32,
            **head_facts(task),
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ArtifactError(
            f"{start}: not readable as a checkpoint ({error}); export the encoder again"
        ) from error
    new = new_weights(start)
    missing = [*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])]
    lacking = sorted(name for name in missing if not name.startswith(new))
    if lacking:
        raise ArtifactError(
            f"{start}: lacks weights of the encoder ({', '.join(lacking[:5])}); they would start "
            "at random: export the encoder again"
        )
    if _trained_as(start).endswith(_OF_A_TASK):
        torch.manual_seed(seed)
        head = model.qa_outputs if task.is_extraction else model.classifier
        for module in head.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=model.config.initializer_range)
                nn.init.zeros_(module.bias)
    return model


def new_weights(start: Path) -> tuple[str, ...]:
    """What the names of weights begin with that no pre-training of this start has made."""
    if _trained_as(start) in _WITHOUT_POOLER:
        return (*_NEW_WEIGHTS, _POOLER)
    return _NEW_WEIGHTS


def _trained_as(start: Path) -> str:
    """The class of transformers that the checkpoint was written by."""
    return str((read_json(start / "config.json").get("architectures") or [""])[0])


def make_twin(start: Path, task: Task, seed: int) -> nn.Module:
    """A model of the same architecture with random weights, drawn with `seed`."""
    torch.manual_seed(seed)
    config = AutoConfig.from_pretrained(start, local_files_only=True, **head_facts(task))
    return _class_of(task).from_config(config, dtype=torch.float32)


def _class_of(task: Task) -> Any:
    """The class of transformers that learns a task."""
    if task.is_extraction:
        return AutoModelForQuestionAnswering
    return AutoModelForSequenceClassification


def head_facts(task: Task) -> dict[str, Any]:
    """What a model's configuration says of the task."""
    if task.is_extraction:
        return {}
    names = task.class_names or (task.name,)
    return {
        "num_labels": task.num_outputs,
        "problem_type": "regression" if task.is_regression else "single_label_classification",
        "id2label": dict(enumerate(names)),
        "label2id": {name: number for number, name in enumerate(names)},
    }


class Classifier:
    """A transformers classifier that learns one task with all of its weights."""

    def __init__(self, model: Any, task: Task) -> None:
        self.model, self.task = model, task

    def loss(self, features: Features, chosen: Int64[ndarray, "B"]) -> Tensor:
        """Mean loss of these training examples."""
        return batch_loss(*outputs_of(self.model, features, chosen), self.task)

    def predict(self, features: Features) -> Float64[ndarray, "N C"]:
        """The head's outputs for every example, in the order of the examples."""
        parts = [
            outputs_of(self.model, features, chosen)
            for chosen in sorted_batches(features.lengths, _PREDICTION_SEQUENCES)
        ]
        return in_order(parts, len(features.lengths))

    def begin(self, features: Features) -> SeenWords | None:
        """Make the model ready to learn these examples; its embeddings, where they are its own."""
        return learn_words(self.model, features)

    def save(self, folder: Path) -> None:
        """Write the checkpoint."""
        save_checkpoint(self.model, folder)


def learn_words(model: Any, features: Features) -> SeenWords | None:
    """Let a model learn the embeddings of these words alone; a padded one learns all of its own."""
    is_packed = model.config.model_type in PACKED
    return learn_seen_words(model, features.ids) if is_packed else None


def save_checkpoint(model: Any, folder: Path) -> None:
    """Write a model that has learnt as transformers reads it."""
    restore_words(model)
    model.save_pretrained(folder)


def batch_loss(examples: Int64[ndarray, "B"], logits: Tensor, task: Task) -> Tensor:
    """Squared error of scores, cross-entropy of classes; the mean over the training examples."""
    wanted = torch.from_numpy(task.labels(TRAIN)[examples]).to(logits.device)
    if task.is_regression:
        return mse_loss(logits[:, 0], wanted.float())
    return cross_entropy(logits, wanted.long())


def in_order(
    parts: list[tuple[Int64[ndarray, "B"], Tensor]], num_examples: int
) -> Float64[ndarray, "N C"]:
    """Outputs of batches in the order of the examples."""
    outputs = np.empty((num_examples, parts[0][1].shape[1]))
    for examples, logits in parts:
        outputs[examples] = logits.double().cpu().numpy()
    return outputs


def outputs_of(
    model: Any, features: Features, chosen: Int64[ndarray, "B"]
) -> tuple[Int64[ndarray, "B"], Tensor]:
    """The head's outputs (B, C) for these examples, and their numbers in the outputs' order."""
    if model.config.model_type not in PACKED:
        batch = padded_batch(features, chosen)
        return chosen, model(**{name: one.to(model.device) for name, one in batch.items()}).logits
    examples, first = first_tokens(model, features, chosen)
    return examples, head_outputs(model, first)


def first_tokens(
    model: Any, features: Features, chosen: Int64[ndarray, "B"]
) -> tuple[Int64[ndarray, "B"], Tensor]:
    """The last layer's hidden states (B, H) at the examples' first tokens, without padding."""
    use_packed_attention(model)
    packed = packed_batch(features, chosen)
    return packed.examples, encode(model.base_model, inputs_on(model.device, packed))


def inputs_on(device: torch.device, packed: Packed) -> dict[str, Any]:
    """A batch's inputs on a device; on the CPU they are there."""
    if device.type == "cpu":
        return packed.inputs
    return {
        name: moved(values, lambda tensor: tensor.to(device, non_blocking=True))
        for name, values in packed.inputs.items()
    }


def head_outputs(model: Any, first: Float[Tensor, "B H"]) -> Tensor:
    """What stands above the last layer: pooler or dense layer, dropout, classifier."""
    alone = first[:, None]  # heads look at the first position
    if model.config.model_type == "bert":
        return model.classifier(model.dropout(model.base_model.pooler(alone)))
    return model.classifier(alone)
