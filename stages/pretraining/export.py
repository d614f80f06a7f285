"""The stage's output: the encoder in transformers' own format, its curve and its manifest."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.artifacts import MANIFEST, read_json, read_manifest, write_json, write_manifest
from stages.core.pinned import ENCODER
from stages.pretraining.architecture import num_positions
from stages.pretraining.params import PretrainingParams
from stages.pretraining.trainer import Trainer
from stages.pretraining.weights import num_weights


def export(
    params: PretrainingParams,
    trainer: Trainer,
    tokenizer: Path,
    out: Path,
    *,
    initialised: list[str],
    adopted: list[dict[str, Any]],
    measured: Mapping[str, float],
) -> None:
    """Write encoder/ (model and tokenizer), what stands beside it, curve.json and the manifest.

    `adopted`: checkpoints of other code or a shorter budget that this training went on from;
    `measured`: numbers of the end, that every objective has.
    """
    trainer.objective.save(out)
    _write_tokenizer(tokenizer, out / ENCODER, trainer.objective.encoder.config)
    write_json(out / "curve.json", trainer.curve)
    spent = trainer.ledger.spent
    properties = {
        "objective": params.objective,
        "start": params.start if isinstance(params.start, str) else params.start.model_dump(),
        "initialised": initialised,
        "adopted": adopted,
        "parameters": num_weights(trainer.objective.encoder),
        "trained_parameters": num_weights(trainer.objective),
        "steps": spent.steps,
        "sequences": spent.sequences,
        "tokens": spent.tokens,
        "flops": spent.flops,
        "budget": params.budget.model_dump(),
        "phases": [phase.model_dump() for phase in params.phases],
        "tokenizer_content": read_manifest(tokenizer, "tokenizer")["content"],
        "validation": _last_validation(trainer.curve),
        "comparison": _last_comparison(trainer.curve)
        | {name: round(value, 6) for name, value in measured.items()},
    }
    write_manifest(out, "pretraining", properties)


def _last_validation(curve: list[dict[str, float]]) -> dict[str, float]:
    """The objective's own losses at the end, without their prefix."""
    last = curve[-1] if curve else {}
    prefix = "validation_"
    return {n.removeprefix(prefix): v for n, v in last.items() if n.startswith(prefix)}


def _last_comparison(curve: list[dict[str, float]]) -> dict[str, float]:
    """The loss that every objective is measured by, and its perplexity."""
    if not curve:
        return {}
    loss = curve[-1]["comparison_mlm_loss"]
    return {"mlm_loss": loss, "mlm_perplexity": round(math.exp(min(loss, 700.0)), 6)}


def _write_tokenizer(tokenizer: Path, encoder: Path, config: Any) -> None:
    """Copy the tokenizer, told what its model takes: its positions, and token types or none."""
    for path in sorted(tokenizer.iterdir()):
        if path.name != MANIFEST:
            shutil.copyfile(path, encoder / path.name)
    settings = encoder / "tokenizer_config.json"
    described = read_json(settings) if settings.is_file() else {}
    has_types = config.type_vocab_size > 1
    names = ["input_ids", "token_type_ids", "attention_mask"]
    described["model_input_names"] = [n for n in names if has_types or n != "token_type_ids"]
    described["model_max_length"] = num_positions(config)
    write_json(settings, described)
