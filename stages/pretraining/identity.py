"""What makes a training this one: its settings, the content of its inputs, its code.

The folder of its checkpoints is named by the hash of it, so that nothing else's are picked up; the
facts lie beside the checkpoints, so that another training's can be compared with them.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from stages.core.artifacts import read_manifest
from stages.core.fingerprint import code_fingerprint, fingerprint
from stages.pretraining.params import INPUTS, PretrainingParams

IDENTITY = "identity.json"
WORKER_MODULE = "stages.pretraining.worker"
_OBJECTIVES = "stages.pretraining.objectives"


def identity(params: PretrainingParams, paths: Mapping[str, Path]) -> dict[str, Any]:
    """The facts; two trainings with the same ones compute the same."""
    return {
        "params": params.model_dump(mode="json"),
        "inputs": {stage: read_manifest(paths[stage], stage)["content"] for stage in INPUTS},
        "code": training_code(params.objective),
    }


@cache
def training_code(objective: str) -> str:
    """The fingerprint of the code that trains an objective."""
    return code_fingerprint(WORKER_MODULE, f"{_OBJECTIVES}.{objective}")


def run_key(params: PretrainingParams, paths: Mapping[str, Path]) -> str:
    """The name of this training for ever: the same settings, data and code resume it."""
    return key_of(identity(params, paths))


def key_of(facts: Mapping[str, Any]) -> str:
    """The name that belongs to an identity."""
    return f"pretraining-{fingerprint(facts)}"
