"""Pre-training: supervises the workers, which train, resume and export into a staged folder.

This process imports no torch: it names the run by the fingerprint of settings, data and code,
starts the workers and passes their exit code on. A folder appears under its name only when whole.
"""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from stages.core.artifacts import staged_directory, write_json, writing
from stages.core.errors import SettingsError
from stages.core.execution import read_execution
from stages.core.logs import fields
from stages.core.state import checkpoints_root
from stages.core.tracking.journal import RunJournal
from stages.pretraining.identity import IDENTITY, identity
from stages.pretraining.inputs import require_undamaged
from stages.pretraining.launch import launch
from stages.pretraining.params import INPUTS, PretrainingParams

log = logging.getLogger(__name__)


def run(params: PretrainingParams, paths: Mapping[str, Path], journal: RunJournal) -> None:
    """Train into `paths["out"]`; exits with the workers' code when they fail.

    Raises: SettingsError: more processes than sequences. ArtifactError: an input is damaged.
    StorageError: a disk is full or read-only.
    """
    execution = read_execution()
    _require_sequences(params, execution.processes)
    folder = checkpoints_root() / journal.key
    log.info("%s", fields("training", checkpoints=folder, processes=execution.processes))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / IDENTITY, identity(params, paths))
        require_undamaged(paths, folder)
    with staged_directory(paths["out"]) as out:
        arguments = ["--out", str(out)]
        for name in ("params", *INPUTS):
            arguments += [f"--{name}", str(paths[name])]
        arguments += ["--checkpoints", str(folder), "--run-key", journal.key]
        code = launch(
            arguments,
            processes=execution.processes,
            threads=execution.workers,
            checkpoints=folder,
        )
        if code:
            sys.exit(code if code > 0 else 128 - code)


def _require_sequences(params: PretrainingParams, processes: int) -> None:
    """Refuse a process that a global batch would give nothing to do.

    Raises: SettingsError: naming the phase.
    """
    for number, phase in enumerate(params.phases):
        if processes > phase.global_batch_sequences:
            raise SettingsError(
                f"environment: CLOZE_PROCESSES is {processes}, expected at most "
                f"{phase.global_batch_sequences}: params.yaml: pretraining.phases.{number}."
                "global_batch_sequences is shared among the processes; lower the one or raise the "
                "other"
            )
