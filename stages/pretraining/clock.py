"""Where a training's time goes, and what it reaches of the machine.

A `Clock` adds up seconds by part; what it reports per interval are shares of the wall time, useful
tokens per second, and model FLOPs utilisation: the operations that must be computed (see `flops`)
over what a plain matrix product reached on this device at the start. On CUDA work is queued, so
that a part's seconds are those until it is queued, and `optimizer` waits for all of it.
"""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from stages.pretraining import ranks
from stages.pretraining.budget import Spent

PARTS = ("data", "forward", "backward", "communication", "optimizer", "evaluation", "tracking")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""The number format of products, by pretraining.precision."""
_PRODUCT_SIZE = {"cpu": 1024, "cuda": 8192}
_SLOW_PRODUCT_SIZE = 256  # a CPU without units for bfloat16 is hundreds of times as slow
_PRODUCT_ROUNDS = 5


class Clock:
    """Seconds by part since the last report, on this rank."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._device = device
        self.peak_flops = peak_flops(device, dtype)
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._reported = time.monotonic()
        self._before = Spent()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time inside to a part."""
        started = time.monotonic()
        yield
        self._seconds[name] += time.monotonic() - started

    def start(self, spent: Spent) -> None:
        """Begin an interval where a training stands."""
        self._reported = time.monotonic()
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._before = replace(spent)

    def report(self, spent: Spent) -> dict[str, float]:
        """The numbers of the interval that ends here, where `spent` is what all ranks have used."""
        elapsed = max(1e-9, time.monotonic() - self._reported)
        tokens, flops = spent.tokens - self._before.tokens, spent.flops - self._before.flops
        numbers = {f"time_{name}_fraction": s / elapsed for name, s in self._seconds.items()}
        numbers["tokens_per_second"] = tokens / elapsed
        peak = self.peak_flops * ranks.world_size()
        numbers["model_flops_utilization"] = flops / elapsed / peak
        if spent.joules > self._before.joules:
            numbers["power_watts"] = (spent.joules - self._before.joules) / elapsed
        numbers["peak_memory_gib"] = peak_memory_bytes(self._device) / 2**30
        self.start(spent)
        return numbers


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Floating point operations per second of a square matrix product, the best of a few."""
    is_slow = device.type == "cpu" and dtype != torch.float32
    size = _SLOW_PRODUCT_SIZE if is_slow else _PRODUCT_SIZE.get(device.type, 1024)
    generator = torch.Generator(device).manual_seed(0)  # training's own generator is left alone
    square = torch.randn(size, size, device=device, generator=generator).to(dtype)
    best = float("inf")
    for _ in range(_PRODUCT_ROUNDS):
        _synchronize(device)
        started = time.monotonic()
        square @ square
        _synchronize(device)
        best = min(best, time.monotonic() - started)
    return 2.0 * size**3 / max(1e-9, best)


def peak_memory_bytes(device: torch.device) -> float:
    """The most memory this process has held: the device's on CUDA, resident memory elsewhere."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
