"""The batch script's program, on a job's first node: starts torchrun on every node.

Slurm's SIGUSR1 before the time limit saves a checkpoint and queues the job again, and so does a
preemption that leaves time: Slurm warns the ranks then, and queues only what it had to kill.
SIGUSR2, which the follower sends, saves one and ends the job. On SIGTERM Slurm itself is ending or
requeueing it: no exit code is left then.
"""

import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping

from stages.core.execution import read_execution
from stages.core.logs import fields
from stages.pretraining.launchers.cluster import STOPPED_CODE, ClusterError, ask
from stages.pretraining.launchers.group import (
    NO_SIGNAL,
    Child,
    exit_code,
    newest_name,
    run_again_while_it_gets_on,
)
from stages.pretraining.launchers.inside import Inside, leave_code, main
from stages.pretraining.launchers.local import run_here
from stages.pretraining.launchers.slurm import facts_of
from stages.pretraining.launchers.torchrun import rank_command, rank_environment

_HERE: Mapping[int, int] = {
    signal.SIGUSR1: signal.SIGTERM,
    signal.SIGUSR2: signal.SIGTERM,
    signal.SIGTERM: signal.SIGTERM,
}
# srun answers SIGTERM by ending the step; this one it hands to the agents. Slurm's own SIGTERM
# reaches srun and the agents without our help.
_THROUGH_SRUN: Mapping[int, int] = {
    signal.SIGUSR1: signal.SIGUSR1,
    signal.SIGUSR2: signal.SIGUSR1,
    signal.SIGTERM: NO_SIGNAL,
}
_SIGNAL_CODE = 128  # above: ended by a signal

log = logging.getLogger(__name__)


def run(inside: Inside) -> int:
    """Run the ranks; leaves the exit code unless the job is queued again."""
    inside.code.unlink(missing_ok=True)
    before = newest_name(inside.checkpoints)
    with Child.passing_signals_on(_HERE if inside.shape.nodes == 1 else _THROUGH_SRUN) as child:
        code = exit_code(_run_ranks(child, inside))
    if child.signal == signal.SIGTERM:
        return code
    if child.signal and code > _SIGNAL_CODE:  # also where an agent had not begun to listen
        code = STOPPED_CODE
    has_got_on = newest_name(inside.checkpoints) != before
    if code and has_got_on and _goes_on_later(child) and _is_queued_again():
        return code
    leave_code(inside, code)
    return code


def _run_ranks(child: Child, inside: Inside) -> int:
    shape, threads = inside.shape, read_execution().workers
    if shape.nodes == 1:
        return run_here(
            child, inside.worker, shape, threads=threads, checkpoints=inside.checkpoints
        )
    endpoint = f"{socket.gethostname()}:{_free_port()}"
    agent = rank_command(inside.worker, shape, endpoint=endpoint, name=inside.name)
    return run_again_while_it_gets_on(
        child,
        [*_srun(shape.nodes), *agent],
        rank_environment(shape, threads),
        checkpoints=inside.checkpoints,
        notes=inside.checkpoints,
    )


def _srun(nodes: int) -> list[str]:
    """One agent a node; one that has ended leaves the others time to save."""
    command = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    command += ["--kill-on-bad-exit=0", "--wait=0", "--cpu-bind=none"]
    cores = os.environ.get("SLURM_CPUS_PER_TASK")
    return [*command, f"--cpus-per-task={cores}"] if cores else command


def _free_port() -> int:
    """A port of this node, where the agents meet."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _goes_on_later(child: Child) -> bool:
    """Whether its time was up, or it is in the time that a preemption leaves it (GraceTime)."""
    if child.signal:
        return child.signal == signal.SIGUSR1
    try:
        return facts_of(os.environ["SLURM_JOB_ID"]).get("PreemptTime", "None") != "None"
    except ClusterError as error:
        log.error("%s", error)
        return False


def _is_queued_again() -> bool:
    """Whether Slurm took the job back into the queue, which ends this program."""
    job_id = os.environ["SLURM_JOB_ID"]
    try:
        ask(["scontrol", "requeue", job_id])
    except ClusterError as error:
        log.error("%s", error)
        return False
    log.info("%s", fields("queued again", job=job_id))
    return True


if __name__ == "__main__":
    sys.exit(main(run))
