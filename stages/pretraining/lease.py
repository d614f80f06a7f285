"""One trainer on a folder of checkpoints: others are refused, or wait for its end.

This module imports no torch.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from stages.core.errors import LeaseError
from stages.core.logs import fields

log = logging.getLogger(__name__)


@contextmanager
def lease(folder: Path, *, is_patient: bool = False) -> Iterator[None]:
    """Hold this checkpoint folder for one trainer; the system frees it when the process dies.

    Raises: LeaseError: another live trainer holds it, and `is_patient` does not say to wait.
    """
    with _opened(folder) as stream:
        _lock(stream, folder, is_patient=is_patient)
        stream.truncate(0)
        stream.write(f"pid {os.getpid()}\n")
        stream.flush()
        yield


def wait_until_free(folder: Path) -> None:
    """Return once no trainer works on the folder.

    Two runs that want the same encoder train it once: the second goes on from the last checkpoint
    of the first, which is the end, or where it was stopped. Ranks cannot wait for hours: who starts
    them does.
    """
    with _opened(folder) as stream:
        _lock(stream, folder, is_patient=True)


def _lock(stream: TextIO, folder: Path, *, is_patient: bool) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.seek(0)
        holder = stream.read().strip() or "process unknown"
        if not is_patient:
            raise LeaseError(
                f"{folder}: another trainer ({holder}) works on these checkpoints; wait for it, or "
                "stop it, then run again"
            ) from error
        log.info("%s", fields("waiting for a trainer of the same", process=f"'{holder}'"))
        fcntl.flock(stream, fcntl.LOCK_EX)


@contextmanager
def _opened(folder: Path) -> Iterator[TextIO]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lease").open("a+", encoding="utf-8") as stream:
        yield stream
