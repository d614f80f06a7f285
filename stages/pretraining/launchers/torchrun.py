"""The line that starts a node's ranks, and what they find in the environment: the same everywhere.

Launchers differ in where they run the line and in the meeting point that they name.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from stages.pretraining.identity import WORKER_MODULE

MAX_RESTARTS = 3  # in a row; a new checkpoint begins the count anew
GRACE_SECONDS = 120  # for a checkpoint after a signal, and for ranks that wait for one that ended
# glibc otherwise hands every large tensor back to the system and faults it in again, in pages of
# 4 KiB; huge pages need glibc 2.35 and are asked for, not required.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 33),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


@dataclass(frozen=True)
class Shape:
    """How many ranks there are, and on how many machines."""

    nodes: int
    processes: int
    """Of one node."""

    @property
    def ranks(self) -> int:
        """Of all nodes together."""
        return self.nodes * self.processes


def rank_command(
    arguments: Sequence[str], shape: Shape, *, endpoint: str = "", name: str = ""
) -> list[str]:
    """The line of one node: the worker itself for a single rank, else torchrun's agent.

    `endpoint`: host and port on the first node where several meet under `name`.
    """
    if shape.ranks == 1:
        return [sys.executable, "-m", WORKER_MODULE, *arguments]
    meeting = ["--standalone"]
    if shape.nodes > 1:
        meeting = [
            f"--nnodes={shape.nodes}",
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={endpoint}",
            f"--rdzv-id={name}",
        ]
    return [
        *(sys.executable, "-m", "stages.pretraining.elastic"),
        *meeting,
        f"--nproc-per-node={shape.processes}",
        f"--max-restarts={MAX_RESTARTS}",
        f"--shutdown-timeout={GRACE_SECONDS}",
        "--signals-to-handle=SIGQUIT",  # the others are the elastic module's own
        *("-m", WORKER_MODULE, *arguments),
    ]


def rank_environment(shape: Shape, threads: int) -> dict[str, str]:
    """The environment of the ranks; a node's `threads` are shared among its own."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(max(1, threads // shape.processes)),
        # Without it, an elastic restart after a killed rank hangs in about half of the cases.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **ALLOCATOR,
    }
