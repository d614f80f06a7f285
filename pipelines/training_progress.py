"""How far a training is, in Prefect's UI while it runs: a bar, and a table of the last steps.

In: the lines that pre-training writes (`step number=... done=... loss=... tokens_per_second=...`).
Out: one progress artifact and one markdown artifact of the task run, brought up to date at most
every ten seconds by a thread of its own, so that a slow server never holds up the training.
"""

import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any

import httpx
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.exceptions import PrefectException

UPDATE_SECONDS = 10.0
PROGRESS_KEY, STEPS_KEY = "cloze-training", "cloze-training-steps"
_SHOWN_STEPS = 10
_FIELD = re.compile(r"(\w+)=(\S+)")
_STEP = re.compile(r"\bstep number=\d+ ")
_NEEDED = ("done", "loss", "tokens_per_second")


class TrainingProgress:
    """The last steps of one training, and the artifacts that show them."""

    def __init__(self) -> None:
        self._steps: deque[dict[str, str]] = deque(maxlen=_SHOWN_STEPS)
        self._new = threading.Event()
        self._over = threading.Event()
        self._bar: Any = None
        self._table: Any = None

    def read(self, line: str) -> None:
        """Take a line of the training's log; others than of steps are let pass."""
        if _STEP.search(line):
            step = dict(_FIELD.findall(line))
            if all(name in step for name in _NEEDED):
                self._steps.append(step)
                self._new.set()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the artifacts of the task run around it up to date."""
        thread = threading.Thread(
            target=copy_context().run, args=(self._keep_up,), name="progress", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._new.set()
            thread.join(UPDATE_SECONDS)

    def table(self) -> str:
        """The last steps as markdown, newest first."""
        rows = [
            f"| {s['number']} | {100 * float(s['done']):.1f} % | {s['loss']} "
            f"| {float(s['tokens_per_second']):,.0f} |"
            for s in reversed(list(self._steps))
        ]
        return "\n".join(["| step | done | loss | tokens/s |", "|---:|---:|---:|---:|", *rows])

    def _keep_up(self) -> None:
        while True:
            self._new.wait()
            self._new.clear()
            if self._steps:
                with suppress(httpx.HTTPError, PrefectException):  # then it is shown the next time
                    self._publish()
            if self._over.wait(UPDATE_SECONDS) and not self._new.is_set():
                return

    def _publish(self) -> None:
        newest = self._steps[-1]
        percent = min(100.0, 100 * float(newest["done"]))
        said = f"loss {newest['loss']}, {float(newest['tokens_per_second']):,.0f} tokens/s"
        if self._bar is None:
            self._bar = create_progress_artifact(percent, key=PROGRESS_KEY, description=said)
            self._table = create_markdown_artifact(self.table(), key=STEPS_KEY)
            return
        update_progress_artifact(self._bar, percent, description=said)
        with get_client(sync_client=True) as client:
            client.update_artifact(self._table, ArtifactUpdate(data=self.table()))
