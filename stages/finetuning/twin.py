"""The random twin's outputs, kept under the state root: no weight of the encoder enters them.

Keyed by the architecture, the tokenizer, the task's data, its settings, the seed, the code that
trains and the libraries that compute, so that a newly trained encoder is compared with a twin that
is not trained again.
"""

import io
import logging
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy import ndarray

from stages.core.artifacts import content_hash, read_json
from stages.core.fingerprint import code_fingerprint, fingerprint
from stages.core.state import state_root
from stages.finetuning.params import TaskSettings

log = logging.getLogger(__name__)
_NO_ARCHITECTURE = ("_name_or_path", "architectures", "transformers_version")
_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")


def twin_key(start: Path, task: Path, settings: TaskSettings, *, mode: str, seed: int) -> str:
    """The name of a twin's outputs: everything they depend on."""
    config: dict[str, Any] = read_json(start / "config.json")
    facts = {
        "architecture": {name: config[name] for name in config if name not in _NO_ARCHITECTURE},
        "tokenizer": content_hash(start / "tokenizer.json"),
        "task": content_hash(task),
        "settings": settings.model_dump(mode="json", exclude={"start"}),
        "mode": mode,
        "seed": seed,
        "code": code_fingerprint("stages.finetuning.training"),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }
    return fingerprint(facts)


def kept_outputs(
    key: str, compute: Callable[[], dict[str, ndarray]], *, sizes: Mapping[str, int]
) -> dict[str, ndarray]:
    """The outputs kept under `key`, or computed and kept now.

    `sizes` are the examples of each split: what is damaged or does not fit is computed again.
    """
    path = state_root() / "twins" / f"{key}.npz"
    outputs = _read(path, sizes)
    if outputs is None:
        outputs = compute()
        _write(path, outputs)
    else:
        log.info("the random twin's outputs are kept in %s: not trained again", path)
    return outputs


def _read(path: Path, sizes: Mapping[str, int]) -> dict[str, ndarray] | None:
    if not path.is_file():
        return None
    try:
        with np.load(path) as stored:  # a zip file: each array carries its checksum
            outputs = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        log.warning("%s: not readable (%s); the twin is trained again", path, error)
        return None
    found = {name: len(one) for name, one in outputs.items()}
    if found != dict(sizes):
        log.warning("%s: holds %s, expected %s; the twin is trained again", path, found, sizes)
        return None
    return outputs


def _write(path: Path, outputs: Mapping[str, ndarray]) -> None:
    """Keep the outputs; a disk that cannot take them costs only the next run its time."""
    buffer = io.BytesIO()
    np.savez(buffer, **outputs)  # type: ignore[arg-type]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(path)
    except OSError as error:
        log.warning("%s: cannot be kept (%s); the next run trains the twin again", path, error)
        temporary.unlink(missing_ok=True)
