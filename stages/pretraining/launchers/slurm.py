"""The launcher `slurm`: one batch job over N nodes, that queues itself again before its time is up.

Options come from the environment: see docs/clusters.md. No accounting database is needed. A job's
id is what sbatch answers: its number, and behind a `;` the name of a cluster that was asked for.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

from stages.core.errors import SettingsError
from stages.core.state import state_root
from stages.pretraining.launchers.cluster import ClusterError, Job, State, ask
from stages.pretraining.launchers.inside import words

PROGRAM = "stages.pretraining.launchers.slurm_job"
TIME_IS_UP, CANCEL = "USR1", "USR2"  # to the batch script alone
_LEAD_SECONDS = 180  # before the time limit; Slurm may signal up to a minute earlier
_OPTIONS = {
    "CLOZE_SLURM_PARTITION": "partition",
    "CLOZE_SLURM_ACCOUNT": "account",
    "CLOZE_SLURM_TIME": "time",
    "CLOZE_SLURM_GPUS_PER_NODE": "gpus-per-node",
    "CLOZE_SLURM_CPUS_PER_NODE": "cpus-per-task",  # a node has one task: torchrun's agent
}
_ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}
_WAITS = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}


class Slurm:
    """Jobs of the cluster that sbatch reaches."""

    name = "slurm"

    def __init__(self) -> None:
        self._shown_bytes = 0

    def submit(self, job: Job) -> str:
        """Queue the job."""
        return ask(["sbatch", "--parsable", *_more_options()], text=script(job)).strip()

    def attach(self, job: Job) -> str | None:
        """The id of the queued or running job of this name."""
        wanted = ["--noheader", "--format=%i", f"--name={job.name}", "--me"]
        for cluster in _clusters():
            words = ask(["squeue", *_at(cluster), *wanted]).split()
            for number in filter(str.isdecimal, words):  # some versions head it `CLUSTER: gpu`
                return f"{number};{cluster}" if cluster else number
        return None

    def poll(self, job_id: str) -> State:
        """What the controller says; it forgets a job some minutes after its end."""
        try:
            state = facts_of(job_id)["JobState"]
        except ClusterError as error:
            if "Invalid job id" in str(error):
                return "over"
            raise
        if state in _ENDED:
            return "over"
        return "waiting" if state in _WAITS else "running"

    def logs(self, job: Job, job_id: str) -> str:
        """What the log has grown by; it goes on when the job is queued again."""
        if not job.log.is_file():
            return ""
        with job.log.open("rb") as stream:
            stream.seek(self._shown_bytes)
            news = stream.read()
        self._shown_bytes += len(news)
        return news.decode(errors="replace")

    def cancel(self, job_id: str, *, at_once: bool) -> None:
        """Take it from the queue where it waits; tell its batch script where it runs."""
        number, _, cluster = job_id.partition(";")
        end = ["scancel", *_at(cluster)]
        if at_once:
            ask([*end, number])
            return
        ask([*end, "--state=PENDING", number])
        if self.poll(job_id) == "running":
            ask([*end, "--batch", f"--signal={CANCEL}", number])


def facts_of(job_id: str) -> dict[str, str]:
    """What the controller knows of a job, by its own names.

    Raises: ClusterError: it does not answer, or has forgotten the job.
    """
    number, _, cluster = job_id.partition(";")
    words = ask(["scontrol", *_at(cluster), "show", "job", number, "--oneliner"]).split()
    return dict(word.split("=", 1) for word in words if "=" in word)


def script(job: Job) -> str:
    """What sbatch is given."""
    options = {
        "job-name": job.name,
        "nodes": str(job.shape.nodes),
        "ntasks-per-node": "1",
        "chdir": str(Path.cwd()),
        "output": str(job.log).replace("%", "%%"),
        "open-mode": "append",
        "signal": f"B:{TIME_IS_UP}@{_LEAD_SECONDS}",
    }
    options |= {option: os.environ[n] for n, option in _OPTIONS.items() if os.environ.get(n)}
    lines = ["#!/bin/sh", "#SBATCH --requeue"]
    lines += [f'#SBATCH "--{option}={value}"' for option, value in options.items()]
    program = [sys.executable, "-m", PROGRAM, *words(job)]
    state = f"export CLOZE_STATE={shlex.quote(str(state_root()))}"
    return "\n".join([*lines, state, f"exec {shlex.join(program)}", ""])


def _at(cluster: str) -> list[str]:
    """The option for a cluster that is not the one of this machine; none without a name."""
    return [f"--clusters={cluster}"] if cluster else []


def _clusters() -> list[str]:
    """The clusters that sbatch may choose from; one empty name where none is asked for."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-M", "--clusters", default=os.environ.get("SBATCH_CLUSTERS", ""))
    options, _ = parser.parse_known_args(_more_options())
    return str(options.clusters).split(",")


def _more_options() -> list[str]:
    """Options in the user's own words.

    Raises: SettingsError: their quotes do not close.
    """
    given = os.environ.get("CLOZE_SLURM_OPTIONS", "")
    try:
        return shlex.split(given)
    except ValueError as error:
        raise SettingsError(
            f"environment: CLOZE_SLURM_OPTIONS is {given!r}: {error}; expected sbatch's options"
        ) from error
