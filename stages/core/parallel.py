"""Ordered, bounded parallel work over processes: results in the order of the items, few in flight.

The output of a stage must not depend on the number of workers, and its memory not on the number
of items; this one function holds both.
"""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from stages.core.errors import ClozeError

Item = TypeVar("Item")
Result = TypeVar("Result")
_IN_FLIGHT_PER_WORKER = 3


class WorkerLostError(ClozeError):
    """A worker process was killed, most often for want of memory: run fewer at once."""


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
    preload: str | None = None,
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order; with one worker in this process.

    `function`, items and results must be picklable for more than one worker. `initializer` runs
    once in each worker. `preload` names a module that is imported once for all of them. An
    exception, here or in a worker, ends the workers at once; one whose parent was killed ends by
    itself.
    Raises: WorkerLostError: a worker was killed.
    """
    if workers == 1:
        if initializer:
            initializer(*initargs)
        yield from map(function, items)
        return
    context = _context(preload)
    before = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, context, _start_worker, (initializer, initargs)) as executor:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(executor.submit(function, item))
                if len(pending) >= workers * _IN_FLIGHT_PER_WORKER:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BaseException as error:
            for worker in set(multiprocessing.active_children()) - before:
                worker.terminate()
            if isinstance(error, BrokenProcessPool):
                raise WorkerLostError(
                    f"one of {workers} worker processes ended in the middle of its work, probably "
                    "killed for want of memory; set CLOZE_WORKERS to fewer, then run again"
                ) from error
            raise
        finally:
            # Not future by future: the pool may then wait for ever for those it has not looked at.
            executor.shutdown(cancel_futures=True)


def _context(preload: str | None) -> Any:
    """Fresh interpreters; with `preload` copies of one that has imported it."""
    if preload is None or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    return context


def _start_worker(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer:
        initializer(*initargs)


def _end_with_parent() -> None:
    """End this process when its parent is gone: the pool's own workers would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
