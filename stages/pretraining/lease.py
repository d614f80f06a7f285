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

WAIT_VARIABLE = "CLOZE_WAIT_FOR_TRAINER"  # 1: wait; set for the runs of a flow
log = logging.getLogger(__name__)


@contextmanager
def lease(folder: Path) -> Iterator[None]:
    """Hold this checkpoint folder for one trainer; the system frees it when the process dies.

    Raises: LeaseError: another live trainer holds it, and CLOZE_WAIT_FOR_TRAINER is not 1.
    """
    with _opened(folder) as stream:
        _lock(stream, folder)
        stream.truncate(0)
        stream.write(f"pid {os.getpid()}\n")
        stream.flush()
        yield


def wait_where_asked(folder: Path) -> None:
    """Return once no trainer works on the folder, where CLOZE_WAIT_FOR_TRAINER is 1; else at once.

    Two runs that want the same encoder train it once: the second goes on from the last checkpoint
    of the first, which is the end, or where it was stopped. Ranks cannot wait for hours: who starts
    them does.
    """
    if _is_patient():
        with _opened(folder) as stream:
            _lock(stream, folder)


def _is_patient() -> bool:
    return os.environ.get(WAIT_VARIABLE) == "1"


def _lock(stream: TextIO, folder: Path) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.seek(0)
        holder = stream.read().strip() or "process unknown"
        if not _is_patient():
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
