"""Pre-training: supervises the workers, which train, resume and export into a staged folder.

This process imports no torch: it names the run by the fingerprint of settings, data and code,
starts the workers and passes their exit code on. A folder appears under its name only when whole.
"""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from stages.core.artifacts import staged_directory, write_json
from stages.core.execution import read_execution
from stages.core.logs import fields
from stages.core.state import checkpoints_root
from stages.core.tracking.journal import RunJournal
from stages.pretraining.identity import IDENTITY, identity
from stages.pretraining.launch import launch
from stages.pretraining.params import PretrainingParams

log = logging.getLogger(__name__)


def run(params: PretrainingParams, paths: Mapping[str, Path], journal: RunJournal) -> None:
    """Train into `paths["out"]`; exits with the workers' code when they fail."""
    execution = read_execution()
    folder = checkpoints_root() / journal.key
    log.info("%s", fields("training", checkpoints=folder, processes=execution.processes))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / IDENTITY, identity(params, paths))
    with staged_directory(paths["out"]) as out:
        arguments = ["--out", str(out)]
        for name in ("params", "encoding", "masking", "tokenizer"):
            arguments += [f"--{name}", str(paths[name])]
        arguments += ["--checkpoints", str(folder), "--run-key", journal.key]
        code = launch(arguments, processes=execution.processes, threads=execution.workers)
        if code:
            sys.exit(code if code > 0 else 128 - code)
