"""Pre-training: supervises the workers, which train, resume and export into a staged folder.

This process imports no torch: it names the run by the fingerprint of settings, data and code, has
the workers started (see `launch`) and passes their exit code on. A folder appears under its name
only when whole.
"""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from stages.core.artifacts import staged_directory, write_json, writing
from stages.core.errors import SettingsError
from stages.core.execution import Execution, read_execution
from stages.core.logs import fields
from stages.core.state import checkpoints_root
from stages.core.tracking.journal import RunJournal
from stages.pretraining.identity import IDENTITY, identity
from stages.pretraining.inputs import require_undamaged
from stages.pretraining.launch import Training, launch
from stages.pretraining.launchers.group import exit_code
from stages.pretraining.params import INPUTS, PretrainingParams

log = logging.getLogger(__name__)


def run(params: PretrainingParams, paths: Mapping[str, Path], journal: RunJournal) -> None:
    """Train into `paths["out"]`; exits with the workers' code when they fail.

    Raises: SettingsError: more processes than sequences, or an unknown launcher. ArtifactError: an
    input is damaged. StorageError: a disk is full or read-only. ClusterError: no job was taken.
    """
    execution = read_execution()
    _require_sequences(params, execution)
    folder = checkpoints_root() / journal.key
    log.info("%s", fields("training", checkpoints=folder, processes=execution.processes))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / IDENTITY, identity(params, paths))
        require_undamaged(paths, folder)
    inputs = {name: paths[name] for name in INPUTS}
    training = Training(journal.key, paths["params"], inputs, folder)
    with staged_directory(paths["out"]) as out:
        code = launch(training, out, execution)
        if code:
            sys.exit(exit_code(code))


def _require_sequences(params: PretrainingParams, execution: Execution) -> None:
    """Refuse a process that a global batch would give nothing to do.

    Raises: SettingsError: naming the phase.
    """
    name, ranks = "CLOZE_PROCESSES", execution.nodes * execution.processes
    if execution.nodes > 1:
        name = "CLOZE_NODES x CLOZE_PROCESSES"
    for number, phase in enumerate(params.phases):
        if ranks > phase.global_batch_sequences:
            raise SettingsError(
                f"environment: {name} is {ranks}, expected at most "
                f"{phase.global_batch_sequences}: params.yaml: pretraining.phases.{number}."
                "global_batch_sequences is shared among the processes; lower the one or raise the "
                "other"
            )
