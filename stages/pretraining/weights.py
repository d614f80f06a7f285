"""Weights that begin a training: drawn like the originals' or read from a checkpoint."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stages.core.errors import SettingsError


@torch.no_grad()
def initialise(model: nn.Module, deviation: float) -> None:
    """Initialise like BERT: matrices truncated normal, biases 0, LayerNorm 1 and 0.

    Cut at two deviations. Source: Devlin et al. 2019, google-research/bert. All four systems begin
    so; fairseq's plain normal differs by the tails alone.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


@torch.no_grad()
def realign(model: nn.Module) -> None:
    """Move every tensor to memory of its own, as fresh ones have it.

    Tensors of a file begin wherever they stand in it, and a matrix product may round its last bits
    otherwise there: a resumed training would leave the path of the uninterrupted one.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def load_model(kind: Any, folder: Path, model_type: str) -> tuple[Any, list[str]]:
    """A transformers model from a folder, and the names of weights that the folder lacked.

    Raises: SettingsError: the folder holds another architecture.
    """
    read_config(folder, model_type)
    model, report = kind.from_pretrained(folder, output_loading_info=True)
    return model, sorted(report["missing_keys"])


def num_weights(model: nn.Module) -> int:
    """Numbers that are trained, a shared one counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def read_config(folder: Path, model_type: str) -> dict[str, Any]:
    """The configuration of the transformers checkpoint in a folder.

    Raises: SettingsError: it cannot be read, or is of another architecture.
    """
    try:
        described: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"params.yaml: pretraining.start: {folder / 'config.json'} cannot be read ({error}); "
            "expected the folder of a transformers checkpoint"
        ) from error
    found = described.get("model_type")
    if found != model_type:
        raise SettingsError(
            f"params.yaml: pretraining.start: {folder} holds a {found} model, expected "
            f"{model_type} for this objective; choose a checkpoint of its kind, or the objective "
            "that the checkpoint was trained with"
        )
    return described
