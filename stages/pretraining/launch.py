"""Starts the workers of a training on this machine, and passes signals on to them."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

WORKER_MODULE = "stages.pretraining.worker"
# glibc otherwise hands every large tensor back to the system and faults it in again.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 33)}
_GRACE_SECONDS = 120


def launch(arguments: Sequence[str], *, processes: int, threads: int) -> int:
    """Run the worker module in `processes` ranks; returns the exit code.

    One rank is a plain process; several are torchrun's. A SIGTERM or SIGINT to this process
    reaches the workers, which save a checkpoint and end.
    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(max(1, threads // processes)),
        # Without it, an elastic restart after a killed rank hangs in about half of the cases.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **ALLOCATOR,
    }
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    worker = subprocess.Popen([*command, WORKER_MODULE, *arguments], env=environment)

    def pass_on(signum: int, _frame: FrameType | None) -> None:
        worker.send_signal(signum)

    before = {signum: signal.signal(signum, pass_on) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        return worker.wait()
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        if worker.poll() is None:
            worker.terminate()
            worker.wait(_GRACE_SECONDS)
