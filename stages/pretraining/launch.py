"""Chooses who runs the ranks of a training: this machine, Slurm or Kubernetes, by the environment.

`local` runs them in the foreground. The others submit a job that outlives this process, or attach
to the one that is under way. Where and how a training runs is never part of what it is.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from stages.core.artifacts import writing
from stages.core.errors import SettingsError
from stages.core.execution import LOCAL, Execution, launcher_name, number
from stages.pretraining.launchers import following, local
from stages.pretraining.launchers.cluster import Cluster, Job
from stages.pretraining.launchers.kubernetes import Kubernetes
from stages.pretraining.launchers.slurm import Slurm
from stages.pretraining.launchers.torchrun import Shape
from stages.pretraining.lease import wait_until_free

_LEAST_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Training:
    """What the workers of one training are told, however they are started."""

    run_key: str
    params: Path
    inputs: dict[str, Path]
    checkpoints: Path
    """Its folder on the state root."""

    def arguments(self, out: Path, params: Path | None = None) -> list[str]:
        """The worker's words."""
        words = ["--out", str(out), "--params", str(params or self.params)]
        for name, path in self.inputs.items():
            words += [f"--{name}", str(path)]
        return [*words, "--checkpoints", str(self.checkpoints), "--run-key", self.run_key]


def launch(training: Training, out: Path, execution: Execution) -> int:
    """Train into `out`; returns the exit code, negative after a signal.

    Raises: SettingsError: a variable is not one of those expected. ClusterError: the cluster
    refused the job or does not answer.
    """
    name, shape = launcher_name(), Shape(execution.nodes, execution.processes)
    if name == LOCAL:
        _require_one_node(shape)
        if execution.waits_for_trainer:
            wait_until_free(training.checkpoints)
        return local.run_ranks(
            training.arguments(out),
            shape,
            threads=execution.workers,
            checkpoints=training.checkpoints,
        )
    cluster: Cluster = Slurm() if name == "slurm" else Kubernetes()
    with writing(training.checkpoints):  # it may be edited while the job waits
        params = training.checkpoints / "params.yaml"
        shutil.copyfile(training.params, params)
    arguments = training.arguments(training.checkpoints / following.EXPORT, params)

    def make_job(attempt: int) -> Job:
        return Job(f"{training.run_key}-{attempt}", training.checkpoints, arguments, shape)

    poll = number("CLOZE_POLL_SECONDS", default=5, least=_LEAST_POLL_SECONDS)
    return following.train(cluster, make_job, out, poll=poll)


def _require_one_node(shape: Shape) -> None:
    if shape.nodes > 1:
        raise SettingsError(
            f"environment: CLOZE_NODES is {shape.nodes}, but CLOZE_LAUNCHER is 'local', which "
            "knows this machine alone; set CLOZE_LAUNCHER=slurm or kubernetes, or CLOZE_NODES=1"
        )
