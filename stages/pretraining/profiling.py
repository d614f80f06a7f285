"""`CLOZE_PROFILE=1`: a torch profiler trace of a few updates, to open in Perfetto."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from stages.core.logs import fields
from stages.pretraining import ranks

log = logging.getLogger(__name__)
# The first updates allocate and compile; those after them are alike.
_SKIPPED, _WARMUP, _TRACED = 5, 2, 5


@contextmanager
def profiled(folder: Path, *, is_on: bool) -> Iterator[Callable[[], None]]:
    """Give what is to be called after every update; the trace is written into `folder`."""
    if not is_on:
        yield lambda: None
        return
    path = folder / f"trace-rank-{ranks.rank()}.json"
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)

    def write(profiler: profile) -> None:
        profiler.export_chrome_trace(str(path))
        log.info("%s", fields("trace written", path=path, updates=_TRACED))

    with profile(
        activities=activities,
        schedule=schedule(skip_first=_SKIPPED, wait=0, warmup=_WARMUP, active=_TRACED, repeat=1),
        on_trace_ready=write,
        record_shapes=True,
    ) as profiler:
        yield profiler.step
