"""The next update's batches, built in the background while this one is computed.

Batches are functions of (phase, step), so that what was built ahead for another step is simply
dropped: nothing about a prefetch is part of a training's state.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from stages.pretraining.batches import Batch

Key = tuple[int, int]


class Prefetch:
    """Builds one update ahead, by (phase, step in the phase)."""

    def __init__(self, build: Callable[[int, int], list[Batch]]) -> None:
        self._build = build
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._key: Key | None = None
        self._pending: Future[list[Batch]] | None = None

    def take(self, phase: int, step: int) -> list[Batch]:
        """The batches of an update; those of the next one are begun."""
        if self._pending is not None and self._key == (phase, step):
            batches = self._pending.result()
        else:
            batches = self._build(phase, step)
        self._key = (phase, step + 1)
        self._pending = self._pool.submit(self._build, phase, step + 1)
        return batches

    def stop(self) -> None:
        """End the thread; what is pending is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pending = None
