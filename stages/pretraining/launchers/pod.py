"""The program of a pod, one a node: torchrun's agent and the exit code of what it ran.

Pods share no process, so the notes of all ranks lie beside the checkpoints, and the first pod
empties that folder before it lets the others meet it. Kubernetes starts pods again.
"""

import os
import shutil
import sys

from stages.core.execution import read_execution
from stages.pretraining.launchers.group import Child, exit_code, run_group
from stages.pretraining.launchers.inside import Inside, leave_code, main
from stages.pretraining.launchers.local import run_here
from stages.pretraining.launchers.torchrun import rank_command, rank_environment


def run(inside: Inside) -> int:
    """Run this node's ranks; the first pod leaves the exit code."""
    if is_first():
        inside.code.unlink(missing_ok=True)
    with Child.passing_signals_on() as child:
        code = exit_code(_run_ranks(child, inside))
    if is_first():
        leave_code(inside, code)
    return code


def is_first() -> bool:
    """Whether this is the pod that the others meet at."""
    return os.environ.get("JOB_COMPLETION_INDEX", "0") == "0"


def _run_ranks(child: Child, inside: Inside) -> int:
    shape, threads = inside.shape, read_execution().workers
    if shape.nodes == 1:
        return run_here(
            child, inside.worker, shape, threads=threads, checkpoints=inside.checkpoints
        )
    notes = inside.checkpoints / f".endings-{inside.name}"
    if is_first():
        shutil.rmtree(notes, ignore_errors=True)
    notes.mkdir(exist_ok=True)
    endpoint = f"{os.environ['PET_MASTER_ADDR']}:{os.environ['PET_MASTER_PORT']}"
    agent = rank_command(inside.worker, shape, endpoint=endpoint, name=inside.name)
    return run_group(child, agent, rank_environment(shape, threads), notes)


if __name__ == "__main__":
    sys.exit(main(run, leaves_code=is_first()))
