"""What a launcher of a cluster can do with a job, and which files the job and its followers share.

A job outlives who submitted it. All that it leaves lies beside the checkpoints, on the state root
that every node sees: its log, its exit code, and the export of the trained encoder.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from stages.core.errors import ClozeError
from stages.pretraining.launchers.torchrun import Shape

State = Literal["waiting", "running", "over"]
STOPPED_CODE = 143  # the exit code of a training that was told to end, and saved a checkpoint
_PATIENCE_SECONDS = 120.0  # for an answer of the cluster


class ClusterError(ClozeError):
    """The cluster refused a request or cannot be reached: mend it, or ask again later."""

    exit_code = 4  # another try may mend it: it finds the job that this one may have left


@dataclass(frozen=True)
class Job:
    """One attempt at a training as a job of a cluster."""

    name: str
    """Of this attempt alone."""
    folder: Path
    """Of the checkpoints, absolute."""
    arguments: Sequence[str]
    """The worker's."""
    shape: Shape

    @property
    def log(self) -> Path:
        """What the job writes, where the cluster lets it write to a file."""
        return self.folder / f"{self.name}.log"

    @property
    def code(self) -> Path:
        """The exit code, as text; missing while the job goes on, or when it was killed."""
        return self.folder / f"{self.name}.code"


@runtime_checkable
class Cluster(Protocol):
    """A launcher whose jobs outlive the process that submits them."""

    name: str

    def submit(self, job: Job) -> str:
        """Hand the job in; returns its id. Raises: ClusterError: it was refused."""

    def attach(self, job: Job) -> str | None:
        """The id of a job that was submitted by a process which could not note it any more."""

    def poll(self, job_id: str) -> State:
        """Where the job stands. Raises: ClusterError: the cluster does not answer."""

    def logs(self, job: Job, job_id: str) -> str:
        """What the job has written since the last call; all of it at the first."""

    def cancel(self, job_id: str, *, at_once: bool) -> None:
        """Ask the job to save a checkpoint and end, or end it without; may be called again."""


def ask(command: Sequence[str], *, text: str = "") -> str:
    """Run a command of the cluster's with `text` as its input; what it writes.

    Raises: ClusterError: it is not installed, failed, or takes longer than two minutes.
    """
    try:
        answer = subprocess.run(
            command,
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # a log may hold any byte
            check=True,
            timeout=_PATIENCE_SECONDS,
        )
    except FileNotFoundError as error:
        raise ClusterError(
            f"{command[0]}: not found on PATH; install the cluster's client, or set "
            "CLOZE_LAUNCHER=local"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{command[0]}: no answer in {_PATIENCE_SECONDS:g} s") from error
    except subprocess.CalledProcessError as error:
        raise ClusterError(f"{' '.join(command)}: {error.stderr.strip()}") from error
    return answer.stdout
