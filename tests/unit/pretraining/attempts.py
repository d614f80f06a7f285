"""A run of the training's command that a test watches from outside, stops and kills."""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.unit.pretraining.test_run import ROOT, Stage

MOMENTS = ("training", "writing", "starting")
PATIENCE_SECONDS = 300.0  # on cores that are busy with other things
_POLL_SECONDS = 0.002
_STEP = re.compile(rb" step number=(\d+)")


class Attempt:
    """One start of a stage; its log is a file, so that nobody has to read a pipe."""

    def __init__(self, stage: Stage, settings: dict, **variables: str) -> None:
        self.stage = stage
        self.log = stage.folder / f"attempt-{time.monotonic_ns()}.log"
        self._read_bytes, self._last_step = 0, 0
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                stage.command(settings),
                cwd=ROOT,
                env=stage.environment(**variables),
                stderr=stream,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def step(self) -> int:
        """The last step that it has logged; 0 before."""
        with self.log.open("rb") as stream:
            stream.seek(self._read_bytes)
            news = stream.read().rpartition(b"\n")[0]
        self._read_bytes += len(news)
        steps = _STEP.findall(news)
        self._last_step = int(steps[-1]) if steps else self._last_step
        return self._last_step

    def wait_until(self, is_so: Callable[[], object]) -> bool:
        """Wait for something; False where the process ended before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            if self.process.poll() is not None:
                return bool(is_so())
            assert time.monotonic() < deadline, self.text[-3000:]
            time.sleep(_POLL_SECONDS)
        return True

    def wait_for_checkpoint(self) -> bool:
        """Wait for one that is not there yet."""
        before = set(self.stage.checkpoints)
        return self.wait_until(lambda: set(self.stage.checkpoints) - before)

    def written_in_part(self) -> list[Path]:
        """Checkpoints that are being written, or were when it was killed."""
        return list(self.stage.state.glob("checkpoints/*/.step-*.partial"))

    def kill(self) -> bool:
        """Kill the whole session; False where it had ended."""
        is_alive = self.process.poll() is None
        if is_alive:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return is_alive

    def kill_while(self, moment: str, draw: random.Random) -> bool:
        """Kill it at a random moment of a kind; says whether it was hit there."""
        if moment == "starting":
            time.sleep(draw.uniform(0.2, 4.0))
            return self.kill() and not self.step
        self.wait_until(lambda: self.step)
        last = self.step + draw.randint(1, 40)
        self.wait_until(lambda: self.step >= last)
        if moment == "writing":
            self.wait_for_checkpoint()  # which removes what an earlier kill left behind
            self.wait_until(self.written_in_part)
            return self.kill() and bool(self.written_in_part())
        time.sleep(draw.uniform(0.0, 0.1))
        return self.kill()

    def finish(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)

    def ranks(self) -> dict[int, int]:
        """Rank -> process id of its workers under torchrun."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                entries = (place / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            names = dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)
            is_mine = names.get(b"CLOZE_STATE") == str(self.stage.state).encode()
            if is_mine and b"RANK" in names:
                found[int(names[b"RANK"])] = int(place.name)
        return found
