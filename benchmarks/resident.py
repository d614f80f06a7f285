"""Peak memory of a command with everything below it, as the kernel counts it.

PSS: pages that several processes share count once, in equal parts; mapped pages of files count as
long as they are resident, though the kernel may take them back at any time. Sampled while it runs.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_SAMPLE_SECONDS = 0.1
_SHOWN_CHARACTERS = 3000


@dataclass
class Peak:
    """The largest sums over the processes, in bytes."""

    resident: int = 0
    """All of it (Pss)."""
    own: int = 0
    """Without mapped pages of files (Pss_Anon): what the kernel cannot take back."""

    def raise_to(self, other: "Peak") -> None:
        """Keep the larger of each."""
        self.resident = max(self.resident, other.resident)
        self.own = max(self.own, other.own)


def run_measured(command: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> Peak:
    """Run a command in a session of its own to its end; its peak.

    Raises: RuntimeError: it failed, with the end of what it said.
    """
    peak = Peak()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=said, stderr=said, start_new_session=True
        )
        try:
            while process.poll() is None:
                peak.raise_to(_sample(process.pid))
                time.sleep(_SAMPLE_SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            said.seek(0)
            end = said.read().decode(errors="replace")[-_SHOWN_CHARACTERS:]
            raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}:\n{end}")
    return peak


def _sample(pid: int) -> Peak:
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        parts = [_rollup(one.pid) for one in (root, *root.children(recursive=True))]
        return Peak(*(sum(column) for column in zip(*parts, strict=True)))
    return Peak()


def _rollup(pid: int) -> tuple[int, int]:
    """(Pss, Pss_Anon) of one process in bytes; nothing of one that ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    kilobytes = {name: words.split()[0] for name, _, words in (x.partition(":") for x in lines[1:])}
    return int(kilobytes["Pss"]) * 1024, int(kilobytes["Pss_Anon"]) * 1024
