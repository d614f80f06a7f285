"""What a job does on its nodes before and after the ranks, whichever cluster runs it.

The words of a job's program: how many ranks, where to leave the exit code, and behind `--` the
worker's own. A job may wait for hours: it refuses to train when the workspace has changed since.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import ClozeError, SettingsError
from stages.core.logs import set_up_logging
from stages.core.settings import load_section
from stages.pretraining.identity import run_key
from stages.pretraining.launchers.cluster import Job
from stages.pretraining.launchers.torchrun import Shape
from stages.pretraining.params import INPUTS, PretrainingParams

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inside:
    """A job as its program sees it."""

    name: str
    shape: Shape
    code: Path
    checkpoints: Path
    run_key: str
    paths: dict[str, Path]
    worker: Sequence[str]
    """The worker's words."""


def words(job: Job) -> list[str]:
    """The words that `read_words` reads again on a node."""
    return [
        *("--name", job.name, "--code", str(job.code)),
        *("--nodes", str(job.shape.nodes), "--processes", str(job.shape.processes)),
        *("--", *job.arguments),
    ]


def read_words(argv: Sequence[str]) -> Inside:
    """The job that these words describe."""
    parser = argparse.ArgumentParser()
    for name, kind in (("name", str), ("code", Path), ("nodes", int), ("processes", int)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    split = list(argv).index("--")
    options, worker = parser.parse_args(argv[:split]), argv[split + 1 :]
    told = argparse.ArgumentParser()
    for name in ("params", *INPUTS, "checkpoints"):
        told.add_argument(f"--{name}", type=Path, required=True)
    told.add_argument("--run-key", required=True)
    facts = told.parse_known_args(worker)[0]
    return Inside(
        name=options.name,
        shape=Shape(options.nodes, options.processes),
        code=options.code,
        checkpoints=facts.checkpoints,
        run_key=facts.run_key,
        paths={name: getattr(facts, name) for name in ("params", *INPUTS)},
        worker=worker,
    )


def main(run: Callable[[Inside], int], *, leaves_code: bool = True) -> int:
    """Run a job's program; an error of ours is logged, and its code left like the ranks' own."""
    set_up_logging("pretraining")
    inside = read_words(sys.argv[1:])
    try:
        require_same_training(inside)
        return run(inside)
    except ClozeError as error:
        log.error("%s", error)
        if leaves_code:
            leave_code(inside, error.exit_code)
        return error.exit_code


def require_same_training(inside: Inside) -> None:
    """Refuse settings, data or code that are not those the job was submitted with.

    Raises: SettingsError: naming the workspace.
    """
    params = load_section(PretrainingParams, "pretraining", inside.paths["params"])
    found = run_key(params, inside.paths)
    if found != inside.run_key:
        raise SettingsError(
            f"{Path.cwd()}: its settings, data and code are now those of {found}, expected "
            f"{inside.run_key}, which this job was submitted for; leave a workspace alone while "
            "its job waits, or give each run its own (python -m pipelines train)"
        )


def leave_code(inside: Inside, code: int) -> None:
    """Write the exit code where those who follow the job look for it."""
    partial = inside.code.with_suffix(".partial")
    partial.write_text(f"{code}\n", encoding="utf-8")
    partial.replace(inside.code)
