"""The stage's output: the encoder in transformers' own format, its curve and its manifest."""

import shutil
from pathlib import Path

from stages.core.artifacts import MANIFEST, read_manifest, write_json, write_manifest
from stages.pretraining.params import PretrainingParams
from stages.pretraining.trainer import Trainer


def export(
    params: PretrainingParams,
    trainer: Trainer,
    tokenizer: Path,
    out: Path,
    *,
    initialised: list[str],
) -> None:
    """Write encoder/ (model and tokenizer), curve.json and the manifest into `out`."""
    encoder = out / "encoder"
    model = trainer.objective.exported
    model.save_pretrained(encoder)
    for path in sorted(tokenizer.iterdir()):
        if path.name != MANIFEST:
            shutil.copyfile(path, encoder / path.name)
    write_json(out / "curve.json", trainer.curve)
    last = trainer.curve[-1] if trainer.curve else {}
    prefix = "validation_"
    properties = {
        "objective": params.objective,
        "start": params.start if isinstance(params.start, str) else params.start.model_dump(),
        "initialised": initialised,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "steps": trainer.step,
        "sequences": sum(
            (span.last_step - span.first_step) * span.phase.global_batch_sequences
            for span in trainer.spans
        ),
        "phases": [phase.model_dump() for phase in params.phases],
        "tokenizer_content": read_manifest(tokenizer, "tokenizer")["content"],
        "validation": {
            name.removeprefix(prefix): value
            for name, value in last.items()
            if name.startswith(prefix)
        },
    }
    write_manifest(out, "pretraining", properties)
