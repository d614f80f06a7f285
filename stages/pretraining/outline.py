"""A system in outline: its shapes and counts without memory for weights, from settings alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from stages.core.artifacts import read_manifest
from stages.core.pinned import encoder_folder, pinned_folder
from stages.core.settings import Checkpoint
from stages.pretraining.objective import Objective, Vocabulary, load_objective
from stages.pretraining.params import PretrainingParams
from stages.pretraining.weights import read_config

# As the tokenizer stage numbers them: BERT's order, and RoBERTa's for bpe.
_SPECIAL_TOKEN_IDS = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
_SPECIAL_TOKEN_IDS_OF_BPE = {"cls": 0, "pad": 1, "sep": 2, "unk": 3, "mask": 4}
_CONFIG = "config.json"


def empty_objective(params: PretrainingParams, vocabulary: Vocabulary) -> Objective:
    """The system with weights that have a shape and no memory: for counting alone."""
    with torch.device("meta"):
        return load_objective(params.objective).from_scratch(params, vocabulary)


def with_layers(params: PretrainingParams, layers: int) -> PretrainingParams:
    """The settings with so many layers."""
    overrides = params.model.overrides.model_copy(update={"num_hidden_layers": layers})
    model = params.model.model_copy(update={"overrides": overrides})
    return params.model_copy(update={"model": model})


def outlined(
    params: PretrainingParams, tokenizer: Path | None, section: Mapping[str, Any]
) -> tuple[PretrainingParams, Vocabulary]:
    """Settings that begin from scratch with the same shapes, and their vocabulary.

    `tokenizer`: the artefact; without one, `section` says what the tokenizer stage will make.
    Raises: ClozeError: the checkpoint to start from is not to be had, or is of another kind.
    """
    special = _SPECIAL_TOKEN_IDS_OF_BPE if section["kind"] == "bpe" else _SPECIAL_TOKEN_IDS
    multiple = section["pad_to_multiple_of"]
    vocab_size = -(-section["vocab_size"] // multiple) * multiple
    if isinstance(params.start, Checkpoint):
        config = _config(params, params.start)
        params, vocab_size = _with_shape_of(params, config), config["vocab_size"]
    if tokenizer is not None:
        facts = read_manifest(tokenizer, "tokenizer")
        vocab_size, special = facts["vocab_size"], facts["special_token_ids"]
    return params, Vocabulary(vocab_size, special)


def _config(params: PretrainingParams, start: Checkpoint) -> dict[str, Any]:
    """The configuration of the checkpoint that training starts from."""
    folder = encoder_folder(pinned_folder(start, section="pretraining", files=(_CONFIG,)))
    return read_config(folder, load_objective(params.objective).model_type)


def _with_shape_of(params: PretrainingParams, config: Mapping[str, Any]) -> PretrainingParams:
    names = type(params.model.overrides).model_fields
    overrides = {name: config[name] for name in names}
    if config["model_type"] == "roberta":  # numbers positions from behind its padding on
        overrides["max_position_embeddings"] -= config["pad_token_id"] + 1
    model = {
        "overrides": params.model.overrides.model_copy(update=overrides),
        "hidden_dropout_probability": config["hidden_dropout_prob"],
        "attention_dropout_probability": config["attention_probs_dropout_prob"],
    }
    changes: dict[str, Any] = {"start": "scratch", "model": params.model.model_copy(update=model)}
    if params.electra is not None:
        width = {"embedding_size": config["embedding_size"]}
        changes["electra"] = params.electra.model_copy(update=width)
    return params.model_copy(update=changes)
