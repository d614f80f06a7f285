"""The stage's command in this process: what it does, without the seconds that a start takes.

Several ranks are forked from a process that has imported them once, in place of torchrun's.
"""

import io
import logging
import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import torch

from stages.core.cli import stage_main
from stages.pretraining import worker
from stages.pretraining.identity import WORKER_MODULE, run_key
from stages.pretraining.launchers import local
from stages.pretraining.launchers.torchrun import Shape
from stages.pretraining.params import INPUTS, PretrainingParams
from stages.pretraining.run import run
from tests.services.daemons import HOST, free_port

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True)
class Ended:
    """What subprocess.run would tell."""

    returncode: int
    stderr: str


def run_command(words: Sequence[str], environment: Mapping[str, str]) -> Ended:
    """Run the stage with these words of its command line, its ranks included."""
    with (
        redirect_stderr(io.StringIO()) as told,
        patch.dict(os.environ, environment, clear=True),
        patch.object(local, "run_ranks", _run_ranks),
        _left_as_it_was(),
    ):
        code = _called(_main, words)
    return Ended(code, told.getvalue())


def _run_ranks(words: Sequence[str], shape: Shape, **_: object) -> int:
    if shape.ranks == 1:
        return _called(worker.main, words)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([WORKER_MODULE])
    meeting = {"MASTER_ADDR": HOST, "MASTER_PORT": str(free_port())}
    sizes = {"WORLD_SIZE": str(shape.ranks), "LOCAL_WORLD_SIZE": str(shape.ranks)}
    processes = []
    for number in range(shape.ranks):
        numbers = {"RANK": str(number), "LOCAL_RANK": str(number)}
        environment = {**os.environ, **meeting, **sizes, **numbers}
        processes.append(context.Process(target=_be_rank, args=(words, environment)))
        processes[-1].start()
    for process in processes:
        process.join()
    return max(process.exitcode or 0 for process in processes)


def _be_rank(words: Sequence[str], environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    sys.exit(_called(worker.main, words))


def _main() -> int:
    return stage_main("pretraining", PretrainingParams, run, inputs=INPUTS, run_key=run_key)


def _called(main, words: Sequence[str]) -> int:
    with patch.object(sys, "argv", ["pretraining", *words]):
        try:
            return main()
        except SystemExit as end:
            return end.code


@contextmanager
def _left_as_it_was() -> Iterator[None]:
    """What a process of its own would take along: log, handlers, threads, random numbers."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    answers = {number: signal.getsignal(number) for number in _SIGNALS}
    threads = torch.get_num_threads()
    drawn = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        root.handlers[:], sys.excepthook = handlers, hook
        root.setLevel(level)
        logging.captureWarnings(False)
        for number, answer in answers.items():
            signal.signal(number, answer)
        torch.set_num_threads(threads)
        torch.set_rng_state(drawn[0])
        np.random.set_state(drawn[1])
        random.setstate(drawn[2])
