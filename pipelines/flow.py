"""The Prefect flow: one task a DVC stage, side by side where the graph allows it.

In: a recipe's name and overrides, from the command line, Prefect's form or a schedule; the working
directory is the checkout. Out: reproduced stages, a journalled pipeline run, a markdown artifact.
Cancellation is handled where the signal lands, in the main thread: Prefect's own handler must stay
installed (its cancellation is acknowledged through it), so the exception it raises is what ends
the process trees, before the task runner waits for its threads.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.futures import PrefectFuture, wait
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, State
from prefect.task_runners import ThreadPoolTaskRunner

from pipelines.environment import child_environment
from pipelines.form import NO_RECIPE, given_overrides, recipe_choice, settings_form
from pipelines.journal import pipeline_journal
from pipelines.processes import Children, StoppedError
from pipelines.promotion import PAGE_FILE, judge_here, obstacle_to_judging
from pipelines.recipes import changed_params, differences
from pipelines.repro import Outcome, StageError, read_state, reproduce_stage
from pipelines.scores import EVALUATION_FILE, REPORT_FILE, summary
from pipelines.servers import running
from pipelines.workspace import isolated_workspace, leased
from stages.core.execution import available_cores
from stages.core.settings import PARAMS_FILE

PARALLEL_VARIABLE = "CLOZE_PARALLEL_STAGES"
REGISTRATION, GATE = "registration", "gate"
_WATCH_SECONDS = 5.0
ROOT = Path.cwd()
Recipe = recipe_choice(ROOT)
Overrides = settings_form(ROOT)


@dataclass
class Run:
    """One run of the pipeline in one workspace: what all its tasks share."""

    workspace: Path
    descriptor: int
    """The lease that children prolong."""
    environment: Mapping[str, str]
    changed: frozenset[str]
    upstreams: Mapping[str, tuple[str, ...]]
    children: Children = field(default_factory=Children)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def is_unchanged(self, stage: str) -> bool:
        """Whether neither dvc.lock nor what ran before it gives the stage a reason to run."""
        before = (self.outcomes[upstream] for upstream in self.upstreams[stage])
        return stage not in self.changed and all(it is Outcome.SKIPPED for it in before)


def parallel_stages() -> int:
    """Stages that run at once: CLOZE_PARALLEL_STAGES, else one a core."""
    text = os.environ.get(PARALLEL_VARIABLE, "")
    return int(text) if text.isdecimal() and int(text) > 0 else available_cores()


@flow(
    name="cloze",
    description="From raw text to a registered model: every stage that changed is run.",
    task_runner=ThreadPoolTaskRunner(max_workers=parallel_stages()),
)
def train(recipe: Recipe = NO_RECIPE, overrides: Overrides = Overrides()) -> Any:  # type: ignore[valid-type]  # noqa: B008
    """Bring the pipeline up to date.

    Args:
        recipe: A recipe of recipes/, applied to the checkout's params.yaml.
        overrides: Single parameters, applied behind the recipe. With a recipe or overrides the run
            works in a git worktree of its own, and the checkout is not touched.
    """
    root = Path.cwd()
    given = given_overrides(overrides)
    text, settings = changed_params(root, None if recipe == NO_RECIPE else recipe, [given])
    changes = list(differences((root / PARAMS_FILE).read_text(encoding="utf-8"), text))
    workspace = root
    if changes:
        name = f"{flow_run.scheduled_start_time:%Y%m%dT%H%M%S}-{flow_run.name}"
        facts = {"flow_run_id": flow_run.id, "recipe": recipe, "changes": changes}
        workspace = isolated_workspace(root, text, settings, name=name, facts=facts)
    get_run_logger().info("workspace=%s changed_parameters=%d", workspace, len(changes))
    try:
        with (
            leased(workspace) as lease,
            pipeline_journal(settings, flow_run_id=flow_run.id, workspace=workspace) as key,
        ):
            changed, upstreams = read_state(workspace)
            run = Run(
                workspace=workspace,
                descriptor=lease.descriptor,
                environment=child_environment(
                    CLOZE_PIPELINE_RUN=key, CLOZE_FLOW_RUN_ID=flow_run.id
                ),
                changed=changed,
                upstreams=upstreams,
            )
            return run_stages(run)
    except StoppedError as error:
        return Cancelled(message=str(error))


def run_stages(run: Run) -> State:
    """Submit every stage behind its upstreams, wait, and sum up.

    Raises: StageError: stages failed; those that do not depend on them were finished.
        StoppedError: the run was cancelled, and its processes are ended.
    """
    futures: dict[str, PrefectFuture] = {}
    with _watching_for_cancellation(run.children, flow_run.id):
        try:
            for stage, upstreams in run.upstreams.items():
                work = _stage_task(stage, run)
                futures[stage] = work.submit(wait_for=[futures[name] for name in upstreams])
            registered = [futures[REGISTRATION]] if REGISTRATION in futures else []
            futures[GATE] = _gate_task(run).submit(wait_for=registered)
            wait(list(futures.values()))
        except BaseException:
            run.children.stop_all()
            raise
    if run.children.is_stopping:
        raise StoppedError("cancelled: every process of the run was ended")
    _raise_failures(futures)
    create_markdown_artifact(
        summary(run.workspace, run.outcomes, _links(run.workspace)),
        key="cloze-scores",
        description=f"Scores and stages of {run.workspace}",
    )
    ran = sum(outcome is Outcome.RAN for outcome in run.outcomes.values())
    return Completed(message=f"{ran} of {len(run.outcomes)} stages ran")


def _stage_task(stage: str, run: Run) -> Any:
    """The Prefect task of one stage; its final state's name says what became of the stage."""

    @task(name=stage, task_run_name=stage, cache_policy=NO_CACHE)
    def reproduce() -> State:
        if run.is_unchanged(stage):
            run.outcomes[stage] = Outcome.SKIPPED
            return Completed(name=Outcome.SKIPPED.value, message="unchanged since dvc.lock")
        try:
            run.outcomes[stage] = reproduce_stage(
                stage,
                workspace=run.workspace,
                children=run.children,
                environment=_stage_environment(stage, run),
                on_line=_line_logger(),
                pass_fds=(run.descriptor,),
            )
        except StoppedError as error:
            return Cancelled(message=str(error))
        return Completed(name=run.outcomes[stage].value, message=_MESSAGES[run.outcomes[stage]])

    return reproduce


def _gate_task(run: Run) -> Any:
    """The task that compares the candidate with the champion: last, and never cached."""

    @task(name=GATE, task_run_name=GATE, cache_policy=NO_CACHE)
    def judge() -> State:
        obstacle = obstacle_to_judging(run.environment, run.outcomes.get(REGISTRATION))
        if obstacle:
            get_run_logger().info("the promotion gate is skipped: %s", obstacle)
            return Completed(name=Outcome.SKIPPED.value, message=obstacle)
        try:
            message = judge_here(
                workspace=run.workspace,
                children=run.children,
                environment=run.environment,
                on_line=_line_logger(),
                pass_fds=(run.descriptor,),
            )
        except StoppedError as error:
            return Cancelled(message=str(error))
        return Completed(message=message)

    return judge


_MESSAGES = {
    Outcome.RAN: "ran",
    Outcome.CACHED: "restored from DVC's run-cache",
    Outcome.SKIPPED: "unchanged after its upstream ran",
}


def _line_logger() -> Callable[[str], None]:
    logger = get_run_logger()
    return lambda line: logger.info("%s", line) if line else None


def _stage_environment(stage: str, run: Run) -> dict[str, str]:
    """Items of one `foreach` share the cores, so that side by side they do not take all twice."""
    environment = dict(run.environment)
    family, is_item, _ = stage.partition("@")
    if is_item and "CLOZE_WORKERS" not in environment:
        items = sum(name.startswith(f"{family}@") for name in run.upstreams)
        at_once = min(items, parallel_stages())
        environment["CLOZE_WORKERS"] = str(max(1, available_cores() // at_once))
    return environment


def _raise_failures(futures: Mapping[str, PrefectFuture]) -> None:
    failed = [f for f in futures.values() if f.state.is_failed() or f.state.is_crashed()]
    errors = [future.result(raise_on_failure=False) for future in failed]
    if errors:
        codes = [error.exit_code for error in errors if isinstance(error, StageError)]
        raise StageError("\n".join(str(error) for error in errors), codes[0] if codes else 1)


def _links(workspace: Path) -> dict[str, str]:
    links = {"workspace": str(workspace)}
    files = {"scores": EVALUATION_FILE, "report": REPORT_FILE, "promotion": PAGE_FILE}
    for name, file in files.items():
        if (workspace / file).is_file():
            links[name] = (workspace / file).as_uri()
    mlflow = running("mlflow")
    if mlflow is not None:
        links["MLflow"] = mlflow["url"]
    return links


@contextmanager
def _watching_for_cancellation(children: Children, flow_run_id: str) -> Iterator[None]:
    """End the children when the run is cancelled in the UI: nobody signals a run without worker."""
    is_over = threading.Event()

    def watch() -> None:
        with get_client(sync_client=True) as client:
            while not is_over.wait(_WATCH_SECONDS):
                try:
                    state = client.read_flow_run(flow_run_id).state
                except httpx.HTTPError:
                    continue  # a server that does not answer cancels nothing
                if state is not None and (state.is_cancelling() or state.is_cancelled()):
                    children.stop_all()
                    return

    thread = threading.Thread(target=watch, name="cancellation", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
