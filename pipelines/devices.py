"""The GPUs of this machine: counted for the work pool's limit, and leased to one run each.

A work pool's limit keeps the number of runs right; it does not say which GPU a run gets, and two
runs would both take the first. So a run locks as many GPUs as it has ranks (CLOZE_PROCESSES) in
`<state>/gpus/`, and its children see no others. A launcher that sends training to other machines
takes none here.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import takewhile

from stages.core.errors import LeaseError, SettingsError
from stages.core.execution import LOCAL, read_execution
from stages.core.state import state_root

COUNT_VARIABLE = "CLOZE_GPUS"
VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Gpus:
    """What a run holds: locks that its children prolong, and what they are told."""

    descriptors: tuple[int, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def visible_gpus() -> list[str]:
    """The GPUs that runs may use: CUDA_VISIBLE_DEVICES, else CLOZE_GPUS many, else all there are.

    Raises: SettingsError: CLOZE_GPUS is no number.
    """
    visible = os.environ.get(VISIBLE_VARIABLE)
    if visible is not None:
        names = (name.strip() for name in visible.split(",") if name.strip())
        return list(takewhile(lambda name: not name.startswith("-"), names))  # as CUDA reads it
    text = os.environ.get(COUNT_VARIABLE, "")
    if text and not text.isdecimal():
        raise SettingsError(f"environment: {COUNT_VARIABLE} is {text!r}, expected a number of GPUs")
    return [str(number) for number in range(int(text) if text else _counted())]


def _counted() -> int:
    """GPUs that the driver lists; 0 where there is none."""
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def runs_at_once() -> int:
    """How many runs the GPUs of this machine suffice for."""
    return len(visible_gpus()) // read_execution().processes


@contextmanager
def leased_gpus(launcher: str) -> Iterator[Gpus]:
    """Hold the GPUs of one run; none where there are none, or where it trains elsewhere.

    Raises: LeaseError: too few are free.
    """
    visible = visible_gpus() if launcher == LOCAL else []
    if not visible:
        yield Gpus()
        return
    wanted = read_execution().processes
    folder = state_root() / "gpus"
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        held: dict[str, int] = {}
        for name in visible:
            if len(held) < wanted:
                stream = stack.enter_context((folder / f"{name}.lock").open("a"))
                if _is_locked(stream.fileno()):
                    held[name] = stream.fileno()
        if len(held) < wanted:
            raise LeaseError(
                f"{folder}: {len(held)} of {len(visible)} GPUs are free, but the run takes "
                f"{wanted} (CLOZE_PROCESSES); wait for other runs, or lower the work pool's limit"
            )
        yield Gpus(tuple(held.values()), {VISIBLE_VARIABLE: ",".join(held)})


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
