"""Ordered, bounded parallel work over processes: results in the order of the items, few in flight.

The output of a stage must not depend on the number of workers, and its memory not on the number
of items; this one function holds both.
"""

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_IN_FLIGHT_PER_WORKER = 3
_PARENT_CHECK_SECONDS = 1.0


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order; with one worker in this process.

    `function`, items and results must be picklable for more than one worker. `initializer` runs
    once in each worker. An exception of a worker is raised here and ends the others; a worker
    whose parent was killed ends by itself.
    """
    if workers == 1:
        if initializer:
            initializer(*initargs)
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")
    start = (os.getpid(), initializer, initargs)
    with ProcessPoolExecutor(workers, context, _start_worker, start) as executor:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(executor.submit(function, item))
                if len(pending) >= workers * _IN_FLIGHT_PER_WORKER:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            # Not future by future: the pool may then wait for ever for those it has not looked at.
            executor.shutdown(cancel_futures=True)


def _start_worker(
    parent: int, initializer: Callable[..., None] | None, initargs: tuple[Any, ...]
) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if initializer:
        initializer(*initargs)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: the pool's own workers would wait for ever."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os._exit(1)
