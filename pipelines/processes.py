"""Child processes that end with everything below them, and whose output is read line by line.

A killed dvc orphans the training below it, and an unread pipe stops a trainer. So each child gets
a session of its own and its output is consumed as it comes; stopping it means SIGINT, then SIGTERM,
then SIGKILL to its group and to every descendant that left the group (torchrun's workers do),
until none is alive. The tracking shipper is spared: it outlives stages on purpose.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stages.core.errors import ClozeError
from stages.core.secrets import redacted
from stages.core.tracking.journal import SHIPPER_MODULE

PROC = Path("/proc")
_POLL_SECONDS = 0.05


class StoppedError(ClozeError):
    """The run was cancelled: a child was ended, or not begun any more."""

    exit_code = 130


class OverdueError(ClozeError):
    """A child ran longer than it may, and was ended."""

    exit_code = 124


@dataclass(frozen=True)
class Patience:
    """Seconds that a tree gets after each signal; Prefect's worker kills the flow after 30."""

    interrupt: float = 12.0
    terminate: float = 8.0
    kill: float = 5.0


class _Process(NamedTuple):
    """A process, told from a later one with the same pid by its start in clock ticks."""

    pid: int
    started: str


class _Family(NamedTuple):
    """Where a process hangs; the parent changes when it dies."""

    parent: int
    group: int


class Children:
    """The live child trees of this process."""

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._live: set[int] = set()
        self._stoppers: list[threading.Thread] = []
        self._is_stopping = False
        self._lock = threading.Lock()

    def run(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
        pass_fds: Sequence[int] = (),
        timeout_seconds: float | None = None,
    ) -> int:
        """Run a command in a session of its own, hand over each line it writes, return its code.

        A carriage return ends a line too; secrets are replaced. The child inherits `pass_fds`.
        Raises: StoppedError: `stop_all` was called before or meanwhile.
            OverdueError: it ran for longer than `timeout_seconds`, and its tree is ended.
        """
        with self._lock:
            self._refuse_when_stopping(command)
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
                pass_fds=pass_fds,
            )
            self._live.add(process.pid)
        try:
            with _deadline(process.pid, self._patience, timeout_seconds) as is_overdue:
                assert process.stdout is not None
                for line in process.stdout:
                    on_line(redacted(line.rstrip()))
                code = process.wait()
        except BaseException:
            reaper = threading.Thread(target=process.wait)
            reaper.start()
            stop_tree(process.pid, self._patience)
            reaper.join()
            raise
        finally:
            with self._lock:
                self._live.discard(process.pid)
        self._refuse_when_stopping(command)
        if is_overdue():
            raise OverdueError(f"{' '.join(command)} was ended after {timeout_seconds:g} s")
        return code

    def stop_all(self) -> None:
        """End every live tree and refuse new ones; called again, wait for the same end."""
        with self._lock:
            if not self._is_stopping:
                self._is_stopping = True
                self._stoppers = [
                    threading.Thread(target=stop_tree, args=(pid, self._patience))
                    for pid in sorted(self._live)
                ]
                for thread in self._stoppers:
                    thread.start()
        for thread in self._stoppers:
            thread.join()

    @property
    def is_stopping(self) -> bool:
        """Whether `stop_all` was called."""
        return self._is_stopping

    def _refuse_when_stopping(self, command: Sequence[str]) -> None:
        if self._is_stopping:
            raise StoppedError(f"cancelled: {' '.join(command)} was stopped or not begun")


@contextmanager
def _deadline(root: int, patience: Patience, seconds: float | None) -> Iterator[Callable[[], bool]]:
    """End a tree when the time is over; yields whether that came to pass."""
    overdue = threading.Event()

    def end() -> None:
        overdue.set()
        stop_tree(root, patience)

    timer = None if seconds is None else threading.Timer(seconds, end)
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield overdue.is_set
    finally:
        if timer is not None:
            timer.cancel()


def stop_tree(root: int, patience: Patience) -> bool:
    """End the group of session leader `root` and all its descendants; True when none is left."""
    known: set[_Process] = set()
    steps = (
        (signal.SIGINT, patience.interrupt),
        (signal.SIGTERM, patience.terminate),
        (signal.SIGKILL, patience.kill),
    )
    for number, seconds in steps:
        deadline = time.monotonic() + seconds
        known = _alive_tree(root, known)
        _signal_group(root, number)
        if number != signal.SIGINT:  # who left the group gets the chance to be ended by its parent
            for process in known:
                _signal_process(process.pid, number)
        while True:
            known = _alive_tree(root, known)
            if not known and not _group_exists(root):
                return True
            if time.monotonic() >= deadline:
                break
            time.sleep(_POLL_SECONDS)
    return False


def _alive_tree(root: int, known: set[_Process]) -> set[_Process]:
    """Who is alive of the known, of the root's group, and of the descendants of both."""
    table = _process_table()
    tree = {p for p, family in table.items() if p in known or root in (p.pid, family.group)}
    while True:
        pids = {process.pid for process in tree}
        more = {p for p, family in table.items() if family.parent in pids} - tree
        more = {process for process in more if not _is_shipper(process.pid)}
        if not more:
            return tree
        tree |= more


def _process_table() -> dict[_Process, _Family]:
    """All processes but zombies; empty where there is no /proc."""
    table = {}
    for entry in PROC.iterdir() if PROC.is_dir() else ():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            words = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if words[0] != "Z":
                table[_Process(int(entry.name), words[19])] = _Family(int(words[1]), int(words[2]))
    return table


def process_start(pid: int) -> str | None:
    """When a process began, in clock ticks since boot; None when it is gone."""
    if not PROC.is_dir():
        with suppress(OSError):
            os.kill(pid, 0)
            return "unknown"
        return None
    return next((process.started for process in _process_table() if process.pid == pid), None)


def _is_shipper(pid: int) -> bool:
    with suppress(OSError):
        return SHIPPER_MODULE.encode() in (PROC / str(pid) / "cmdline").read_bytes()
    return False


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _signal_process(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _group_exists(group: int) -> bool:
    """Whether the group has a member, where /proc cannot say; zombies count."""
    if PROC.is_dir():
        return False
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
