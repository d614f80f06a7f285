"""Starts the workers of a training on this machine, again when one dies, and passes signals on."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from stages.core.logs import fields
from stages.pretraining import endings

WORKER_MODULE = "stages.pretraining.worker"
MAX_RESTARTS = 3  # in a row; a new checkpoint begins the count anew
# glibc otherwise hands every large tensor back to the system and faults it in again, in pages of
# 4 KiB; huge pages need glibc 2.35 and are asked for, not required.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 33),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
_GRACE_SECONDS = 120  # for a checkpoint after a signal, and for ranks that wait for one that ended
_POLL_SECONDS = 1.0
_PARENT = "CLOZE_PARENT"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

log = logging.getLogger(__name__)


def launch(arguments: Sequence[str], *, processes: int, threads: int, checkpoints: Path) -> int:
    """Run the worker module in `processes` ranks; returns the exit code, negative after a signal.

    One rank is a plain process; several are torchrun's, which starts all again when one dies. A
    SIGTERM or SIGINT to this process reaches the workers, which save a checkpoint and end.
    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(max(1, threads // processes)),
        # Without it, an elastic restart after a killed rank hangs in about half of the cases.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        _PARENT: str(os.getpid()),
        **ALLOCATOR,
    }
    with _Child.passing_signals_on() as child:
        if processes == 1:
            return child.run([sys.executable, "-m", WORKER_MODULE, *arguments], environment)
        command = [*_elastic_command(processes), WORKER_MODULE, *arguments]
        while True:
            newest = _newest(checkpoints)
            code = _run_group(child, command, environment)
            if code != 1 or child.is_signalled or _newest(checkpoints) == newest:
                return code
            log.warning("%s", fields("starting all ranks again", newest=_newest(checkpoints)))


def end_with_parent(*, is_parent: bool = False) -> None:
    """Let the system kill this process when the one that started it dies; on Linux.

    torchrun's ranks are sessions of their own: what kills the group of the launcher does not reach
    them, and they would train on, and keep the next training out. `is_parent`: this process starts
    others that are to end with it.
    """
    if sys.platform == "linux" and _PARENT in os.environ:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ[_PARENT]):  # it died before
            os.kill(os.getpid(), signal.SIGKILL)
    if is_parent:
        os.environ[_PARENT] = str(os.getpid())


def _elastic_command(processes: int) -> list[str]:
    return [
        *(sys.executable, "-m", "stages.pretraining.elastic"),
        "--standalone",
        f"--nproc-per-node={processes}",
        f"--max-restarts={MAX_RESTARTS}",
        f"--shutdown-timeout={_GRACE_SECONDS}",
        "--signals-to-handle=SIGQUIT",  # the others are the elastic module's own
        "-m",
    ]


def _run_group(child: "_Child", command: list[str], environment: Mapping[str, str]) -> int:
    """Run several ranks; the exit code is what one of them noted, if one did."""
    with TemporaryDirectory(prefix="cloze-") as folder:
        notes = Path(folder)
        code = child.run(
            command,
            {**environment, endings.FOLDER: folder},
            is_over=lambda: endings.exit_code(notes) is not None,
        )
        noted = endings.exit_code(notes)
    return code if noted is None else noted


def _newest(checkpoints: Path) -> str:
    return max((path.name for path in checkpoints.glob("step-*")), default="")


class _Child:
    """The child process, one at a time, that signals to this process are passed on to."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._signal = 0

    @classmethod
    @contextmanager
    def passing_signals_on(cls) -> Iterator["_Child"]:
        """A child whose signals arrive from before it begins."""
        child = cls()
        stops = (signal.SIGTERM, signal.SIGINT)
        before = {signum: signal.signal(signum, child._pass_on) for signum in stops}
        try:
            yield child
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    @property
    def is_signalled(self) -> bool:
        """Whether this process was told to stop."""
        return self._signal != 0

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
            if self._signal:  # it came before there was a process
                self._process.send_signal(self._signal)
            while True:
                try:
                    return self._process.wait(_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    over_since = over_since or (time.monotonic() if is_over() else None)
                    if over_since and time.monotonic() - over_since > _GRACE_SECONDS:
                        self._process.terminate()
        finally:
            if self._process.poll() is None:
                self._process.terminate()
                self._process.wait(_GRACE_SECONDS)
            self._process = None

    def _pass_on(self, signum: int, _frame: FrameType | None) -> None:
        self._signal = signum
        if self._process is not None:
            self._process.send_signal(signum)
