"""Ends a run's children when it is cancelled in the UI: nobody signals a run without a worker."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import get_client

from pipelines.processes import Children

_WATCH_SECONDS = 5.0


@contextmanager
def watching_for_cancellation(children: Children, flow_run_id: str) -> Iterator[None]:
    """Ask the server every few seconds; one that does not answer cancels nothing."""
    is_over = threading.Event()

    def watch() -> None:
        with get_client(sync_client=True) as client:
            while not is_over.wait(_WATCH_SECONDS):
                try:
                    state = client.read_flow_run(flow_run_id).state
                except httpx.HTTPError:
                    continue
                if state is not None and (state.is_cancelling() or state.is_cancelled()):
                    children.stop_all()
                    return

    thread = threading.Thread(target=watch, name="cancellation", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        children.stop_all()
        raise
    finally:
        is_over.set()
        thread.join()
