"""Ordered, bounded parallel work as tasks of a Ray cluster: `parallel.ordered_map` over many nodes.

Ray runs a task of a lost node again on another one. The process that calls this must run on a node
of the cluster; all nodes need the same environment, and see the working directory and the state
root under the same paths. Ray is imported here alone, and only when it is used.
"""

import os
import secrets
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from stages.core.errors import SettingsError
from stages.core.parallel import WorkerLostError

Item = TypeVar("Item")
Result = TypeVar("Result")
_WAITING_PER_WORKER = 3
_RETRIES = 5  # of a task whose node or worker is lost: a text that kills each worker must end
_prepared: str | None = None  # the token of the map that this worker process was made ready for


@dataclass(frozen=True)
class _SetUp:
    """What a worker process needs once, before the first item of a map."""

    token: str
    folder: Path
    initializer: Callable[..., None] | None
    initargs: tuple[Any, ...]


def ordered_map_on_ray(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    address: str,
    workers: int | None,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order; at most `workers` tasks run at once.

    `address` is the cluster's, empty for this machine alone; `workers` None means its cores.
    `function` must bear to run twice for an item. An exception, here or there, cancels the rest.
    Raises: SettingsError: Ray is not installed, or no cluster answers. WorkerLostError: a task's
    workers were killed, one after the other.
    """
    ray = _connected(address)
    workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    set_up = ray.put(_SetUp(secrets.token_hex(8), Path.cwd(), initializer, initargs))
    task = ray.remote(num_cpus=1, max_retries=_RETRIES)(_work)
    pending: deque[Any] = deque()
    running: list[Any] = []
    try:
        for item in items:
            if len(pending) >= workers * _WAITING_PER_WORKER:
                yield _result(ray, pending.popleft())
            while len(running) >= workers:
                _, running = ray.wait(running, fetch_local=False)
            pending.append(task.remote(set_up, function, item))
            running.append(pending[-1])
        while pending:
            yield _result(ray, pending.popleft())
    finally:
        for reference in pending:
            ray.cancel(reference, force=True)


def _connected(address: str) -> Any:
    """Ray, connected to its cluster.

    Raises: SettingsError: Ray is not installed, no cluster answers, or it is of other versions.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise SettingsError(
            "environment: CLOZE_EXECUTOR is 'ray', but Ray is not installed: "
            "pip install -c requirements.lock '.[ray]', or unset CLOZE_EXECUTOR"
        ) from error
    if ray.is_initialized():
        return ray
    where = {"address": address} if address else {"address": "local", "include_dashboard": False}
    on_stop = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**where, configure_logging=False)
    except (ConnectionError, ValueError) as error:
        raise SettingsError(
            f"environment: CLOZE_RAY_ADDRESS is {address!r}, but no Ray cluster answers there "
            f"({error}); expected the host:port of a head node that `ray start --head` started"
        ) from error
    except RuntimeError as error:
        if not address:
            raise
        raise SettingsError(
            f"environment: CLOZE_RAY_ADDRESS is {address!r}, but Ray cannot join that cluster: "
            f"{_in_one_line(error)}; expected the same Ray and Python on all nodes"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_stop)  # Ray's own ends the stage with code 1 or 15
    return ray


def _result(ray: Any, reference: Any) -> Any:
    """The result of a task, or the exception that the function raised.

    Raises: WorkerLostError: its workers were killed.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        raise WorkerLostError(
            "the worker process of a Ray task was killed, and when it ran again too, probably for "
            "want of memory; set CLOZE_WORKERS to fewer, then run again; Ray said: "
            f"{_in_one_line(error)}"
        ) from error


def _in_one_line(error: Exception) -> str:
    """What Ray says, which it spreads over several lines."""
    return " ".join(str(error).split())


def _work(set_up: _SetUp, function: Callable[[Item], Result], item: Item) -> Result:
    """Run in a worker process: the function, in a process that is ready for it."""
    global _prepared  # noqa: PLW0603  Ray's processes serve one map after the other
    if _prepared != set_up.token:
        os.chdir(set_up.folder)
        if set_up.initializer:
            set_up.initializer(*set_up.initargs)
        _prepared = set_up.token
    return function(item)
