"""What a run that ended badly leaves behind: a note in Prefect's UI, and the same in the log.

The note says what failed, where the run's workspace is and what to do. It is written by the hooks
of the flows, in the process of the flow or, where that died, in the worker's; so it takes all it
needs from the server and from run.json.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from pipelines.workspace import isolated_runs

NOTE_KEY = "cloze-what-to-do"
_LONGEST_REASON = 1500
_AGAIN = "What finished is kept and is not computed again; a training goes on from its checkpoint."
_ADVICE = {
    "failed": (
        "Read the last lines of the stage's log above, mend the cause, and run again with the same "
        f"parameters. {_AGAIN} `python -m pipelines check` tells whether parameters fit, "
        "`python -m pipelines doctor` whether this machine does."
    ),
    "cancelled": f"Run again with the same parameters to go on. {_AGAIN}",
    "crashed": (
        "The process of the flow died: out of memory, a restart of the machine, or a signal. Look "
        "at the worker's log (`.cloze/servers/`) and at `dmesg`. The run's children hold its lease "
        f"until they have ended; then run again with the same parameters. {_AGAIN}"
    ),
}
log = logging.getLogger(__name__)


def note_failure(flow: Any, flow_run: Any, state: Any) -> None:
    """Hook: a stage or the flow failed."""
    _leave("failed", flow_run, state)


def note_cancellation(flow: Any, flow_run: Any, state: Any) -> None:
    """Hook: somebody cancelled the run."""
    _leave("cancelled", flow_run, state)


def note_crash(flow: Any, flow_run: Any, state: Any) -> None:
    """Hook: the flow's process died."""
    _leave("crashed", flow_run, state)


def note(what: str, name: str, reason: str, unfinished: Sequence[str], workspace: Path) -> str:
    """The text of a note; `what` is failed, cancelled or crashed."""
    lines = [f"### {name} {what}", "", f"```\n{reason[-_LONGEST_REASON:]}\n```", ""]
    if unfinished:
        lines.append(f"- not finished: {', '.join(unfinished)}; their logs are at their task runs")
    lines += [f"- workspace: `{workspace}`", f"- what to do: {_ADVICE[what]}"]
    return "\n".join(lines) + "\n"


def workspace_of(flow_run_id: str) -> Path:
    """The worktree of a run, by its run.json; else the checkout."""
    for workspace, facts in isolated_runs():
        if facts.get("flow_run_id") == flow_run_id:
            return workspace
    return Path.cwd()


def _leave(what: str, flow_run: Any, state: Any) -> None:
    with get_client(sync_client=True) as client:
        text = note(
            what,
            flow_run.name,
            state.message or "",
            _unfinished(client, flow_run.id),
            workspace_of(str(flow_run.id)),
        )
        log.warning("%s", text)
        wanted = {"key": NOTE_KEY, "type": "markdown", "data": text, "flow_run_id": flow_run.id}
        client.create_artifact(ArtifactCreate(**wanted, description=f"The run {what}"))


def _unfinished(client: Any, flow_run_id: UUID) -> list[str]:
    this = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    tasks = client.read_task_runs(flow_run_filter=this)
    return sorted(task.name for task in tasks if not (task.state and task.state.is_completed()))
