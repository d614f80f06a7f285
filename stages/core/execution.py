"""How and where a job runs: read from the environment, never from params.yaml.

Nothing here may change a result, so nothing here enters a fingerprint.
"""

import os
from dataclasses import dataclass

from stages.core.errors import SettingsError

LOCAL = "local"
LAUNCHERS = (LOCAL, "slurm", "kubernetes")
LAUNCHER_VARIABLE = "CLOZE_LAUNCHER"
WAIT_VARIABLE = "CLOZE_WAIT_FOR_TRAINER"


@dataclass(frozen=True)
class Execution:
    """Execution knobs; each field names the environment variable that sets it."""

    nodes: int  # CLOZE_NODES: machines of distributed pre-training
    processes: int  # CLOZE_PROCESSES: its ranks on each machine
    workers: int  # CLOZE_WORKERS: processes of data stages and threads of a single trainer
    executor: str  # CLOZE_EXECUTOR: what runs the shards of corpus, encoding and masking
    ray_address: str  # CLOZE_RAY_ADDRESS: host:port of a cluster's head; empty: this machine
    ray_workers: int | None  # CLOZE_WORKERS where it is set; None: every core of the cluster
    micro_batch_sequences: int  # CLOZE_MICRO_BATCH_SEQUENCES: most sequences in one forward pass
    log_interval_steps: int  # CLOZE_LOG_INTERVAL_STEPS
    checkpoint_interval_seconds: float  # CLOZE_CHECKPOINT_INTERVAL_SECONDS
    checkpoint_interval_steps: int  # CLOZE_CHECKPOINT_INTERVAL_STEPS: 0 = by time alone
    shards_optimizer: bool  # CLOZE_SHARD_OPTIMIZER: its state is spread over the ranks
    is_profiled: bool  # CLOZE_PROFILE: a torch profiler trace of a few updates
    waits_for_trainer: bool  # CLOZE_WAIT_FOR_TRAINER: where another process trains the same


def available_cores() -> int:
    """Cores that this process may use (affinity, not the machine's count)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_execution() -> Execution:
    """Read and check the execution knobs.

    Raises: SettingsError: a variable is no number, below its least value, or none of its choices.
    """
    workers = int(number("CLOZE_WORKERS", default=available_cores(), least=1))
    return Execution(
        nodes=int(number("CLOZE_NODES", default=1, least=1)),
        processes=int(number("CLOZE_PROCESSES", default=1, least=1)),
        workers=workers,
        executor=_choice("CLOZE_EXECUTOR", "processes", "ray"),
        ray_address=os.environ.get("CLOZE_RAY_ADDRESS", ""),
        ray_workers=workers if os.environ.get("CLOZE_WORKERS") else None,
        micro_batch_sequences=int(number("CLOZE_MICRO_BATCH_SEQUENCES", default=64, least=1)),
        log_interval_steps=int(number("CLOZE_LOG_INTERVAL_STEPS", default=20, least=1)),
        checkpoint_interval_seconds=number(
            "CLOZE_CHECKPOINT_INTERVAL_SECONDS", default=300, least=0
        ),
        checkpoint_interval_steps=int(
            number("CLOZE_CHECKPOINT_INTERVAL_STEPS", default=0, least=0)
        ),
        shards_optimizer=_switch("CLOZE_SHARD_OPTIMIZER"),
        is_profiled=_switch("CLOZE_PROFILE"),
        waits_for_trainer=_switch(WAIT_VARIABLE),
    )


def launcher_name() -> str:
    """Who runs the ranks of pre-training: CLOZE_LAUNCHER, without it this machine.

    Raises: SettingsError: there is none of that name.
    """
    name = os.environ.get(LAUNCHER_VARIABLE) or LOCAL
    if name not in LAUNCHERS:
        raise SettingsError(
            f"environment: {LAUNCHER_VARIABLE} is {name!r}, expected one of {', '.join(LAUNCHERS)}"
        )
    return name


def number(name: str, *, default: float, least: float) -> float:
    """The number that a variable of the environment holds.

    Raises: SettingsError: it is none, or below the least.
    """
    text = os.environ.get(name, "")
    try:
        value = float(text) if text else float(default)
    except ValueError:
        value = float("nan")
    if not value >= least:
        raise SettingsError(f"environment: {name} is {text!r}, expected a number >= {least:g}")
    return value


def _switch(name: str) -> bool:
    text = os.environ.get(name, "")
    if text not in ("", "0", "1"):
        raise SettingsError(f"environment: {name} is {text!r}, expected 0 or 1")
    return text == "1"


def _choice(name: str, default: str, *others: str) -> str:
    text = os.environ.get(name, "") or default
    if text not in (default, *others):
        expected = " or ".join((default, *others))
        raise SettingsError(f"environment: {name} is {text!r}, expected {expected}")
    return text
