"""The launcher `local`: ranks on this machine, which live and die with the process that asks."""

import os
from collections.abc import Sequence
from pathlib import Path

from stages.pretraining.launchers.group import Child, run_again_while_it_gets_on
from stages.pretraining.launchers.torchrun import Shape, rank_command, rank_environment
from stages.pretraining.parent import PARENT


def run_ranks(arguments: Sequence[str], shape: Shape, *, threads: int, checkpoints: Path) -> int:
    """Run the worker module in all ranks; returns the exit code, negative after a signal.

    One rank is a plain process; several are torchrun's, which starts all again when one dies. A
    SIGTERM or SIGINT to this process reaches the workers, which save a checkpoint and end.
    """
    with Child.passing_signals_on() as child:
        return run_here(child, arguments, shape, threads=threads, checkpoints=checkpoints)


def run_here(
    child: Child, arguments: Sequence[str], shape: Shape, *, threads: int, checkpoints: Path
) -> int:
    """The same under a child whose signals the caller has chosen."""
    environment = rank_environment(shape, threads) | {PARENT: str(os.getpid())}
    command = rank_command(arguments, shape)
    if shape.ranks == 1:
        return child.run(command, environment)
    return run_again_while_it_gets_on(child, command, environment, checkpoints=checkpoints)
