"""Lets a process end with the one that started it, on one machine."""

import ctypes
import os
import signal
import sys

PARENT = "CLOZE_PARENT"  # set by who starts such a process; never across srun or pods
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(*, is_parent: bool = False) -> None:
    """Let the system kill this process when the one that started it dies; on Linux.

    torchrun's ranks are sessions of their own: what kills the group of the launcher does not reach
    them, and they would train on, and keep the next training out. `is_parent`: this process starts
    others that are to end with it.
    """
    if sys.platform == "linux" and PARENT in os.environ:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ[PARENT]):  # it died before
            os.kill(os.getpid(), signal.SIGKILL)
    if is_parent:
        os.environ[PARENT] = str(os.getpid())
