"""A classifier on an encoder or on its random twin, and its outputs without padding.

The models are transformers' own. Where the encoder is one of those that `stages.core.nn.body` knows
(BERT, RoBERTa, ELECTRA), batches are packed and the last layer is computed at the first token of
each example alone, which changes no output; any other is given padded batches.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from numpy import ndarray
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from stages.core.artifacts import read_json
from stages.core.errors import ArtifactError
from stages.core.nn.body import encode, use_packed_attention
from stages.core.nn.layout import moved
from stages.finetuning.features import Features
from stages.finetuning.task import Task

_NEW_WEIGHTS = ("classifier.", "score.")
# An encoder pre-trained without next sentence prediction has no pooler: it belongs to the head.
_WITHOUT_POOLER = ("BertForMaskedLM",)
_POOLER = "bert.pooler."
_PACKED = ("bert", "roberta", "electra")


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


def outputs_of(
    model: Any, features: Features, chosen: Int64[ndarray, "B"]
) -> tuple[Int64[ndarray, "B"], Tensor]:
    """The head's outputs (B, C) for these examples, and their numbers in the outputs' order."""
    device = model.device
    if model.config.model_type not in _PACKED:
        batch = {name: values.to(device) for name, values in features.padded(chosen).items()}
        return chosen, model(**batch).logits
    use_packed_attention(model)
    packed = features.packed(chosen)
    inputs = {
        name: moved(values, lambda tensor: tensor.to(device, non_blocking=True))
        for name, values in packed.inputs.items()
    }
    first = encode(model.base_model, inputs)[:, None]  # heads look at the first position
    if model.config.model_type == "bert":
        pooled = model.base_model.pooler(first)
        return packed.examples, model.classifier(model.dropout(pooled))
    return packed.examples, model.classifier(first)
