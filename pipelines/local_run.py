"""`train` on the command line: a flow in this process, against a Prefect server.

Settings are validated before a server is started. Prefect reads its settings when it is imported,
so the address is put into the environment first and the flow imported last.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from pipelines.environment import TELEMETRY_OFF
from pipelines.form import NO_RECIPE, NO_REVISION
from pipelines.processes import StoppedError
from pipelines.recipes import changed_params
from pipelines.servers import borrowed_prefect, prefect_environment

_SEND_SECONDS = 10.0


def run_here(
    recipe: str | None,
    overrides: Sequence[Mapping[str, Any]],
    flow: str = "train",
    revision: str | None = None,
) -> int:
    """Run a flow of pipelines/flows.py to its end; returns the exit code.

    Raises: ClozeError: settings, a stage or the lease failed. StoppedError: it was cancelled.
    """
    root = Path.cwd()
    if revision is None:
        changed_params(root, recipe, overrides)
    with ExitStack() as stack:
        url = stack.enter_context(borrowed_prefect(root))
        os.environ.update({**prefect_environment(url), **TELEMETRY_OFF})
        logging.getLogger().handlers.clear()  # Prefect's own lines name the task
        run = getattr(import_module("pipelines.flows"), flow)
        given = {
            "recipe": recipe or NO_RECIPE,
            "overrides": _together(overrides),
            "revision": revision or NO_REVISION,
        }
        try:
            state = run(**given, return_state=True)
        finally:
            _send_what_is_left()
        if state.is_cancelled():
            raise StoppedError("the run was cancelled; every process of it was ended")
        state.result()
    return 0


def _together(overrides: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several overrides as one; the later wins."""
    merged: dict[str, Any] = {}
    for override in overrides:
        _merge(merged, override)
    return merged


def _merge(target: dict[str, Any], change: Mapping[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = dict(value) if isinstance(value, Mapping) else value


def _send_what_is_left() -> None:
    """Send the logs and events (states of tasks are events) that Prefect still holds back."""
    logs = import_module("prefect.logging.handlers").APILogWorker
    events = import_module("prefect.events.worker").EventsWorker
    for worker in (logs, events):
        worker.drain_all(timeout=_SEND_SECONDS)
