"""The random twin's outputs, kept under the state root: no weight of the encoder enters them.

Keyed by the architecture, the tokenizer, the task's data, its settings, the seed and the training
code, so that a newly trained encoder is compared with a twin that is not trained again.
"""

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from stages.core.artifacts import content_hash, read_json, read_manifest
from stages.core.fingerprint import code_fingerprint, fingerprint
from stages.core.state import state_root
from stages.finetuning.params import TaskSettings

log = logging.getLogger(__name__)
Outputs = dict[str, ndarray]
_VOLATILE = ("_name_or_path", "architectures", "transformers_version")


def twin_key(start: Path, task: Path, settings: TaskSettings, seed: int) -> str:
    """The name of a twin's outputs: everything they depend on."""
    config: dict[str, Any] = read_json(start / "config.json")
    facts = {
        "architecture": {name: config[name] for name in config if name not in _VOLATILE},
        "tokenizer": content_hash(start / "tokenizer.json"),
        "task": read_manifest(task, "tasks")["content"],
        "settings": settings.model_dump(mode="json", exclude={"start"}),
        "seed": seed,
        "code": code_fingerprint("stages.finetuning.training", "stages.finetuning.task"),
    }
    return fingerprint(facts)


def cached_outputs(key: str, compute: Callable[[], Outputs]) -> Outputs:
    """The outputs kept under `key`, or computed and kept now; a damaged entry is made again."""
    path = state_root() / "twins" / f"{key}.npz"
    if path.is_file():
        try:
            with np.load(path) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, json.JSONDecodeError) as error:
            log.warning("%s: not readable (%s); the twin is trained again", path, error)
    outputs = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, **outputs)  # type: ignore[arg-type]
    temporary = path.with_suffix(".partial")
    temporary.write_bytes(buffer.getvalue())
    temporary.replace(path)
    return outputs
