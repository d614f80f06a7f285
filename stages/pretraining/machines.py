"""Machines to plan for: the one this runs on, and published ones by name.

A named machine is one device of a kind: its memory, and the peaks that its maker publishes. What a
training reaches of them is an assumption (`ASSUMED_UTILIZATION`), never a measurement of ours.
"""

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from stages.core.errors import SettingsError
from stages.core.execution import available_cores

# Of encoders in bfloat16 at 128 to 512 tokens on an A100, 43 to 48 % are reported for BERT-large; a
# BERT of 4e9 parameters reaches 55 % (NVIDIA NeMo's page: 57,287 tokens/s on 8). This is cautious;
# smaller models and short batches reach less.
ASSUMED_UTILIZATION = 0.40
_GIB = 2.0**30
_TERA = 1e12
# Of a GPU: what CUDA's context and its libraries take before the first tensor, and what the
# allocator cannot use.
RESERVED_ON_GPU_BYTES = 1.0 * _GIB
_MEMORY_FILE = Path("/proc/meminfo")
_GROUP_FILES = (  # limit and usage of a container, of the kernel's second and first version
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


@dataclass(frozen=True)
class Machine:
    """One device as a plan sees it."""

    name: str
    device_type: str
    """cpu or cuda."""
    memory_bytes: float
    """Of one device; on the CPU, what is available now, for all processes together."""
    peaks: dict[str, float] | None
    """Precision -> published FLOPs per second; None where speed is measured. A precision that the
    hardware lacks is missing."""


def _gpu(name: str, memory_gib: float, float32: float, bfloat16: float | None) -> Machine:
    """A GPU by its maker's numbers, in TFLOPs without sparsity."""
    peaks = {"float32": float32 * _TERA}
    if bfloat16 is not None:
        peaks["bfloat16"] = bfloat16 * _TERA
    return Machine(name, "cuda", memory_gib * _GIB, peaks)


# Memory as nvidia-smi shows it. Peaks: NVIDIA's data sheets (V100 SXM2, T4, A10, L4, L40S, A100
# SXM, H100 SXM and PCIe, H200 SXM) and its GA102 and Ada white papers (RTX), dense; sparsity's
# numbers are twice as high. float32 is that of the plain units: training leaves TF32 off.
_NAMED = (
    _gpu("a10", 22.5, 31.2, 125.0),
    _gpu("a100-40", 40.0, 19.5, 312.0),
    _gpu("a100-80", 80.0, 19.5, 312.0),
    _gpu("h100", 79.6, 67.0, 989.0),
    _gpu("h100-pcie", 79.6, 51.0, 756.0),
    _gpu("h200", 140.4, 67.0, 989.0),
    _gpu("l4", 22.5, 30.3, 121.0),
    _gpu("l40s", 45.0, 91.6, 362.0),
    _gpu("rtx-3090", 24.0, 35.6, 71.0),
    _gpu("rtx-4090", 24.0, 82.6, 165.2),
    _gpu("t4", 15.0, 8.1, None),
    _gpu("v100-16", 15.8, 15.7, None),
    _gpu("v100-32", 31.7, 15.7, None),
)
MACHINES = {machine.name: machine for machine in _NAMED}


def named_machine(name: str) -> Machine:
    """A machine of the table.

    Raises: SettingsError: it is not there; the names are listed.
    """
    if name not in MACHINES:
        near = get_close_matches(name, MACHINES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SettingsError(f"--machine {name!r}: expected one of {', '.join(MACHINES)}{hint}")
    return MACHINES[name]


def this_machine() -> Machine:
    """The machine that this process runs on: its first GPU, or its memory and cores."""
    import torch

    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        return Machine(f"this machine, {facts.name}", "cuda", float(facts.total_memory), None)
    name = f"this machine, {available_cores()} CPU cores"
    return Machine(name, "cpu", available_bytes(), None)


def available_bytes() -> float:
    """Main memory that this process could still take: the system's, within a container's limit."""
    rooms = [_system_bytes()]
    for limit, usage in _GROUP_FILES:
        try:
            rooms.append(float(limit.read_text()) - float(usage.read_text()))
        except (OSError, ValueError):  # no container, or "max": no limit
            continue
    return max(0.0, min(rooms))


def _system_bytes() -> float:
    """What the kernel says is available; where it does not say, all there is."""
    if _MEMORY_FILE.is_file():
        for line in _MEMORY_FILE.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    return float(os.sysconf("SC_PAGE_SIZE")) * float(os.sysconf("SC_PHYS_PAGES"))
