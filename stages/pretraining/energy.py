"""Energy that a training takes, where the machine tells it: a GPU's counter, or the processor's.

The counter of a GPU (NVML) is that of this rank's device. The processors' (RAPL) are the whole
machine's, whatever else runs there, and only the first rank on a machine reads them. Memory, disks
and cooling are in neither.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

_POWERCAP = Path("/sys/class/powercap")
_NVML = "libnvidia-ml.so.1"


class Counter(NamedTuple):
    """Joules since some moment; None where it cannot be read."""

    read: Callable[[], float | None]
    wraps_at: float
    """Where it begins again at 0."""


class EnergyMeter:
    """Joules between two looks, over all counters; 0 where the machine does not tell."""

    def __init__(self, counters: list[Counter]) -> None:
        self._counters = counters
        self._last = [counter.read() for counter in counters]

    def since_last(self) -> float:
        """Joules since the last call."""
        now, before = [counter.read() for counter in self._counters], self._last
        self._last = now
        return sum(
            end - start if end >= start else end - start + counter.wraps_at
            for counter, start, end in zip(self._counters, before, now, strict=True)
            if start is not None and end is not None
        )


def make_meter(device: torch.device) -> EnergyMeter:
    """The meter of this rank."""
    if device.type == "cuda":
        return EnergyMeter(list(_device_counters(device)))
    is_first_here = os.environ.get("LOCAL_RANK", "0") == "0"
    return EnergyMeter(list(processor_counters(_POWERCAP)) if is_first_here else [])


def processor_counters(powercap: Path) -> Iterator[Counter]:
    """The counter of every processor package; most systems show it to root alone."""
    for package in powercap.glob("intel-rapl:*"):
        is_part = package.name.count(":") > 1  # intel-rapl:0:1 is counted in intel-rapl:0
        wraps_at = _joules(package / "max_energy_range_uj")
        if not is_part and wraps_at is not None:
            yield Counter(partial(_joules, package / "energy_uj"), wraps_at)


def _joules(file: Path) -> float | None:
    try:
        return int(file.read_text()) / 1e6
    except (OSError, ValueError):
        return None


def _device_counters(device: torch.device) -> Iterator[Counter]:
    """The GPU's own counter, through the driver's library; not every device has one."""
    try:
        nvml = ctypes.CDLL(_NVML)
    except OSError:
        return
    handle = ctypes.c_void_p()
    name = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByUUID(name, ctypes.byref(handle)):
        return

    def read() -> float | None:
        millijoules = ctypes.c_ulonglong()
        failed = nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
        return None if failed else millijoules.value / 1e3

    yield Counter(read, float("inf"))
