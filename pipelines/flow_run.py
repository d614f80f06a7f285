"""What every flow does: a workspace for the parameters, then stages side by side, then a summary.

In: the parameters of Prefect's form, the command line or a schedule; the working directory is the
checkout. Out: reproduced stages, a journalled pipeline run, a markdown artifact, and a branch with
what an isolated run was made from. Cancellation is handled where the signal lands, in the main
thread: Prefect's own handler must stay installed (its cancellation is acknowledged through it), so
the exception it raises is what ends the process trees, before the task runner waits for threads.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.futures import PrefectFuture, wait
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed, State

from pipelines.cancellation import watching_for_cancellation
from pipelines.champion import POINTER, Champion, find_champion, restore
from pipelines.devices import leased_gpus
from pipelines.environment import child_environment
from pipelines.form import NO_RECIPE, NO_REVISION, given_overrides
from pipelines.journal import pipeline_journal
from pipelines.processes import StoppedError
from pipelines.promotion import PAGE_FILE
from pipelines.recipes import changed_params, changed_text, differences
from pipelines.repro import Outcome, StageError, needed_stages, read_state
from pipelines.revisions import commit_of, leave_branch
from pipelines.scores import EVALUATION_FILE, REPORT_FILE, summary
from pipelines.servers import running
from pipelines.settings import load_settings
from pipelines.stage_task import GATE, REGISTRATION, Run, gate_task, stage_task
from pipelines.workspace import Lease, isolated_workspace, leased_workspace
from stages.core.errors import ClozeError
from stages.core.execution import LAUNCHER_VARIABLE, WAIT_VARIABLE
from stages.core.settings import PARAMS_FILE


@dataclass(frozen=True)
class Goal:
    """Which part of the pipeline a flow brings up to date."""

    targets: tuple[str, ...]
    """Stages that are wanted, with all that leads to them; none: every stage, then the gate."""
    is_refresh: bool = False
    """Pre-training goes on from the champion, unless it has seen the corpus already."""


@dataclass(frozen=True)
class Request:
    """The parameters of a flow run."""

    recipe: str
    overrides: Any
    launcher: str
    revision: str


def run_name() -> str:
    """`train-wikipedia-cpu-3f9a1c`: flow, recipe and the start of the run's id."""
    parameters = flow_run.parameters or {}
    recipe = parameters.get("recipe", NO_RECIPE)
    words = [flow_run.flow_name, "checkout" if recipe == NO_RECIPE else recipe, flow_run.id[:6]]
    return "-".join(str(word) for word in words)


def folder_name() -> str:
    """The name of an isolated run's folder and branch: when it was to start, and its name."""
    return f"{flow_run.scheduled_start_time:%Y%m%dT%H%M%S}-{run_name()}"


def bring_up_to_date(goal: Goal, request: Request) -> State:
    """Run what changed of the stages that the goal needs.

    Raises: ClozeError: parameters do not fit, or stages failed; what does not depend on them is
        finished. StoppedError: the run was cancelled, and its processes are ended.
    """
    root = Path.cwd()
    _tag(request)
    with ExitStack() as stack:
        champion = find_champion(root) if goal.is_refresh else None
        workspace, lease = stack.enter_context(workspace_of(root, request, champion))
        gpus = stack.enter_context(leased_gpus(request.launcher))
        if champion:
            restore(champion, workspace)
        key = stack.enter_context(
            pipeline_journal(load_settings(workspace), flow_run_id=flow_run.id, workspace=workspace)
        )
        changed, upstreams = read_state(workspace)
        upstreams.pop(str(POINTER), None)  # data, and restored already
        run = Run(
            workspace=workspace,
            descriptors=(lease.descriptor, *gpus.descriptors),
            environment={
                **children_environment(request.launcher, gpus.environment),
                "CLOZE_PIPELINE_RUN": key,
            },
            changed=changed,
            upstreams=needed_stages(upstreams, goal.targets) if goal.targets else upstreams,
        )
        message = run_all(run, champion, with_gate=not goal.targets)
        is_news = any(outcome is not Outcome.SKIPPED for outcome in run.outcomes.values())
        is_kept = is_news and workspace != root
        _show(run, branch_of(workspace, message) if is_kept else "")
        return Completed(message=message)


@contextmanager
def workspace_of(
    root: Path, request: Request, champion: Champion | None = None
) -> Iterator[tuple[Path, Lease]]:
    """Hold the checkout, where nothing is to differ from it, or else a worktree made for the run.

    Raises: SettingsError: parameters do not fit, or there is no such revision.
    """
    recipe = None if request.recipe == NO_RECIPE else request.recipe
    changes = [given_overrides(request.overrides), *([champion.start] if champion else [])]
    facts: dict[str, object] = {"flow_run_id": str(flow_run.id), "recipe": request.recipe}
    commit = None if request.revision == NO_REVISION else commit_of(root, request.revision)
    if commit is None:
        text, _ = changed_params(root, recipe, changes)  # refused before anything is set up
        differing = list(differences((root / PARAMS_FILE).read_text(encoding="utf-8"), text))
        facts |= {"changes": differing}
    is_isolated = commit is not None or bool(differing)

    def make() -> Path:
        if not is_isolated:
            return root
        return isolated_workspace(
            root,
            lambda worktree: changed_text(worktree, recipe, changes),
            name=folder_name(),
            facts={**facts, "commit": commit},
            commit=commit,
        )

    with leased_workspace(make) as (workspace, lease):
        get_run_logger().info("workspace=%s is_isolated=%s", workspace, is_isolated)
        yield workspace, lease


def children_environment(launcher: str, extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a run's children: its launcher, its GPUs, its flow run.

    Of two runs that want the same encoder one trains it, and the other waits.
    """
    named = {LAUNCHER_VARIABLE: launcher, WAIT_VARIABLE: "1"}
    return child_environment(**named, CLOZE_FLOW_RUN_ID=str(flow_run.id), **extra)


def run_all(run: Run, champion: Champion | None, *, with_gate: bool) -> str:
    """Run the stages of the run's graph, and the gate; returns what came of it.

    A refresh runs the corpus first, and nothing more where the champion has seen it.
    """
    with watching_for_cancellation(run.children, flow_run.id):
        if champion:
            _finish(run, submitted(run, needed_stages(run.upstreams, ["corpus"])))
            if champion.has_seen(run.workspace):
                return f"no new documents since {champion.name} {champion.version}"
        futures = submitted(run, [s for s in run.upstreams if s not in run.outcomes])
        if with_gate:
            registered = [futures[REGISTRATION]] if REGISTRATION in futures else []
            futures[GATE] = gate_task(run).submit(wait_for=registered)
        _finish(run, futures)
    ran = sum(outcome is Outcome.RAN for outcome in run.outcomes.values())
    return f"{ran} of {len(run.outcomes)} stages ran"


def submitted(run: Run, stages: Iterable[str]) -> dict[str, PrefectFuture]:
    """Submit stages, each behind those of its upstreams that are submitted too."""
    futures: dict[str, PrefectFuture] = {}
    for stage in stages:
        before = [futures[name] for name in run.upstreams[stage] if name in futures]
        futures[stage] = stage_task(stage, run).submit(wait_for=before)
    return futures


def _finish(run: Run, futures: Mapping[str, PrefectFuture]) -> None:
    wait(list(futures.values()))
    if run.children.is_stopping:
        raise StoppedError("cancelled: every process of the run was ended")
    raise_failures(futures)


def raise_failures(futures: Mapping[str, PrefectFuture]) -> None:
    """Raise one error for all tasks that failed, with the exit code of the first."""
    failed = [f for f in futures.values() if f.state.is_failed() or f.state.is_crashed()]
    errors = [future.result(raise_on_failure=False) for future in failed]
    if errors:
        codes = [error.exit_code for error in errors if isinstance(error, ClozeError)]
        raise StageError("\n".join(str(error) for error in errors), codes[0] if codes else 1)


def branch_of(workspace: Path, message: str) -> str:
    """Leave the run's state on a branch; a warning and none where git refuses: the run is done."""
    try:
        return leave_branch(workspace, folder_name(), message)
    except ClozeError as error:
        get_run_logger().warning("no branch holds the run's state: %s", error)
        return ""


def _tag(request: Request) -> None:
    """Make the run findable by its recipe, launcher and revision."""
    given = {"recipe": request.recipe, "launcher": request.launcher, "revision": request.revision}
    tags = {f"{name}:{value}" for name, value in given.items() if value != NO_RECIPE}
    with get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, tags=sorted({*flow_run.tags, "cloze", *tags}))


def _show(run: Run, branch: str) -> None:
    create_markdown_artifact(
        summary(run.workspace, run.outcomes, _links(run.workspace, branch)),
        key="cloze-scores",
        description=f"Scores and stages of {run.workspace}",
    )


def _links(workspace: Path, branch: str) -> dict[str, str]:
    links = {"workspace": str(workspace), **({"branch": branch} if branch else {})}
    files = {"scores": EVALUATION_FILE, "report": REPORT_FILE, "promotion": PAGE_FILE}
    for name, file in files.items():
        if (workspace / file).is_file():
            links[name] = (workspace / file).as_uri()
    address = _mlflow_address()
    return {**links, "MLflow": address} if address else links


def _mlflow_address() -> str:
    """Where MLflow's pages are, without a password that may stand in its address; empty if none."""
    named = urlsplit(os.environ.get("MLFLOW_TRACKING_URI", ""))
    if named.scheme in ("http", "https"):
        return f"{named.scheme}://{named.netloc.rpartition('@')[2]}{named.path}"
    server = running("mlflow")
    return str(server["url"]) if server else ""
