"""Runs a training's ranks from one process to their end, again where that helps; passes signals on.

The process is the stage itself, the first node's batch script, or a pod's.
"""

import logging
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from stages.core.logs import fields
from stages.pretraining import endings
from stages.pretraining.launchers.torchrun import GRACE_SECONDS

_POLL_SECONDS = 1.0
_NOTES = ".endings-"
NO_SIGNAL = 0  # asks the system whether the process is there, and does nothing to it
STOPS: Mapping[int, int] = {
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGINT: signal.SIGINT,
}

log = logging.getLogger(__name__)


class Child:
    """The child process, one at a time, that signals to this process are passed on to."""

    def __init__(self, passed: Mapping[int, int]) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._passed = passed
        self.signal = 0
        """The last signal that this process got; 0 without any."""

    @classmethod
    @contextmanager
    def passing_signals_on(cls, passed: Mapping[int, int] = STOPS) -> Iterator["Child"]:
        """A child whose signals arrive from before it begins; `passed`: came -> is sent."""
        child = cls(passed)
        before = {signum: signal.signal(signum, child._pass_on) for signum in passed}
        try:
            yield child
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        is_over: Callable[[], bool] = lambda: False,
    ) -> int:
        """Run a command to its end; it is terminated when it stays long behind `is_over`."""
        over_since = None
        self._process = subprocess.Popen(command, env=environment)
        try:
            if self.signal:  # it came before there was a process
                self._process.send_signal(self._passed[self.signal])
            while True:
                try:
                    return self._process.wait(_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    over_since = (over_since or time.monotonic()) if is_over() else None
                    if over_since and time.monotonic() - over_since > GRACE_SECONDS:
                        self._process.terminate()
        finally:
            if self._process.poll() is None:
                self._process.terminate()
                self._process.wait(GRACE_SECONDS)
            self._process = None

    def _pass_on(self, signum: int, _frame: FrameType | None) -> None:
        self.signal = signum
        if self._process is not None:
            self._process.send_signal(self._passed[signum])


def run_again_while_it_gets_on(
    child: Child,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    checkpoints: Path,
    notes: Path | None = None,
) -> int:
    """Run several ranks, all again when they failed behind a new checkpoint; the exit code.

    `notes`: where ranks of other machines reach the folder of their notes; this machine's
    temporary folder without it.
    """
    while True:
        newest = newest_name(checkpoints)
        code = _run_noting(child, command, environment, notes)
        if code != 1 or child.signal or newest_name(checkpoints) == newest:
            return code
        log.warning("%s", fields("starting all ranks again", newest=newest_name(checkpoints)))


def run_group(
    child: Child, command: Sequence[str], environment: Mapping[str, str], notes: Path
) -> int:
    """Run several ranks; the exit code is what one of them noted in `notes`, if one did."""
    code = child.run(
        command,
        {**environment, endings.FOLDER: str(notes)},
        is_over=lambda: endings.exit_code(notes) is not None,
    )
    noted = endings.exit_code(notes)
    return code if noted is None else noted


def exit_code(code: int) -> int:
    """What a process ends with: 128 + N where signal N ended its child."""
    return code if code >= 0 else 128 - code


def newest_name(checkpoints: Path) -> str:
    """The name of the last checkpoint; empty without any."""
    return max((path.name for path in checkpoints.glob("step-*")), default="")


def _run_noting(
    child: Child, command: Sequence[str], environment: Mapping[str, str], place: Path | None
) -> int:
    for stale in place.glob(f"{_NOTES}*") if place else ():  # of a job that was killed
        shutil.rmtree(stale)
    with TemporaryDirectory(prefix=_NOTES if place else "cloze-", dir=place) as folder:
        return run_group(child, command, environment, Path(folder))
