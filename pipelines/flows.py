"""The Prefect flows, each with a form from the settings' schema; `make up` deploys them all.

`train`, `pretrain`, `finetune`, `evaluate` and `refresh` differ in the part of DVC's graph that
they bring up to date, and share everything else (pipelines/flow_run.py). `compare` is several runs
of that graph, one an objective. This module is the entrypoint of infra/prefect.yaml: the names are
deployed, and importing it reads params.yaml and recipes/ of the working directory.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from prefect import Flow, flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.futures import wait
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, State
from prefect.task_runners import ThreadPoolTaskRunner

from pipelines import compare as comparison
from pipelines.cancellation import watching_for_cancellation
from pipelines.devices import leased_gpus
from pipelines.flow_run import (
    Goal,
    Request,
    bring_up_to_date,
    children_environment,
    folder_name,
    raise_failures,
    run_name,
    workspace_of,
)
from pipelines.form import (
    NO_RECIPE,
    NO_REVISION,
    Launcher,
    budget_form,
    given_overrides,
    recipe_choice,
    settings_form,
    usual_launcher,
)
from pipelines.processes import Children, StoppedError
from pipelines.run_notes import note_cancellation, note_crash, note_failure
from pipelines.stage_task import line_logger, parallel_stages
from stages.pretraining.params import DEMANDS

ROOT = Path.cwd()
Recipe = recipe_choice(ROOT)
Overrides = settings_form(ROOT)
Budget = budget_form()
Objective = Literal[tuple(DEMANDS)]  # type: ignore[valid-type]
LAUNCHER = usual_launcher()
_PARAMETERS = """
    recipe: A recipe of recipes/, applied to the checkout's params.yaml.
    overrides: Single parameters, applied behind the recipe. With a recipe or overrides the run
        works in a git worktree of its own, and the checkout is not touched.
    launcher: Where pre-training runs: this machine, or jobs of a Slurm or Kubernetes cluster.
    revision: A branch, tag or commit whose code and settings are run; none: the checkout as it is.
"""
TRAIN = Goal(())
GOALS = {
    "train": (TRAIN, "Bring the whole pipeline up to date, from raw text to the promotion gate."),
    "pretrain": (Goal(("pretraining",)), "Bring the encoder up to date, and all that leads to it."),
    "finetune": (Goal(("finetuning",)), "Bring every fine-tuned task up to date."),
    "evaluate": (Goal(("evaluation",)), "Bring scores and report up to date; register nothing."),
    "refresh": (
        Goal((), is_refresh=True),
        "New documents have arrived: make the corpus anew, pre-train on from the champion, "
        "fine-tune, evaluate, register, and let the gate decide. Without new documents it ends.",
    ),
}


def _as_flow(name: str, about: str) -> Callable[[Callable[..., Any]], Flow[Any, Any]]:
    return flow(
        name=name,
        description=about,
        flow_run_name=run_name,
        task_runner=ThreadPoolTaskRunner(max_workers=parallel_stages()),
        on_failure=[note_failure],
        on_cancellation=[note_cancellation],
        on_crashed=[note_crash],
    )


def _make(name: str) -> Flow[Any, Any]:
    """The flow of a goal; its docstring is what the form says of each parameter."""
    goal, about = GOALS[name]

    def run(
        recipe: Recipe = NO_RECIPE,  # type: ignore[valid-type]
        overrides: Overrides = Overrides(),  # type: ignore[valid-type]  # noqa: B008
        launcher: Launcher = LAUNCHER,  # type: ignore[assignment]
        revision: str = NO_REVISION,
    ) -> Any:
        request = Request(recipe, overrides, launcher, revision)
        return ended_well(lambda: bring_up_to_date(goal, request))

    run.__name__ = run.__qualname__ = name
    run.__doc__ = f"{about}\n\nArgs:{_PARAMETERS}"
    return _as_flow(name, about)(run)


def ended_well(work: Callable[[], State]) -> State:
    """Do the work of a flow; one that was cancelled without a signal says so by its state."""
    try:
        return work()
    except StoppedError as error:
        state: State = Cancelled(message=str(error))
        with get_client(sync_client=True) as client:
            note_cancellation(None, client.read_flow_run(flow_run.id), state)
        return state


train = _make("train")
pretrain = _make("pretrain")
finetune = _make("finetune")
evaluate = _make("evaluate")
refresh = _make("refresh")


@_as_flow("compare", "Objectives pre-trained at equal compute over one corpus, side by side.")
def compare(
    objectives: list[Objective] = list(DEMANDS),  # type: ignore[valid-type]  # noqa: B006
    budget: Budget = Budget(),  # type: ignore[valid-type]  # noqa: B008
    as_published: bool = False,
    pretraining_seeds: int = 1,
    recipe: Recipe = NO_RECIPE,  # type: ignore[valid-type]
    overrides: Overrides = Overrides(),  # type: ignore[valid-type]  # noqa: B008
    launcher: Launcher = LAUNCHER,  # type: ignore[assignment]
    revision: str = NO_REVISION,
) -> Any:
    """Pre-train and fine-tune objectives at equal compute, and report them side by side.

    Args:
        objectives: What is compared.
        budget: What each pre-training may take.
        as_published: Each paper's own tokenizer, masks and optimiser instead of equal ones.
        pretraining_seeds: Pre-trainings of each objective.
        recipe: A recipe of recipes/, applied to the checkout's params.yaml.
        overrides: Single parameters, applied behind the recipe.
        launcher: Where pre-training runs: this machine, or jobs of a cluster.
        revision: A branch, tag or commit to compare in; none: the checkout as it is.
    """
    plan = comparison.Plan(
        objectives=tuple(objectives),
        budget=budget.model_dump(),  # type: ignore[attr-defined]
        is_as_published=as_published,
        num_pretraining_seeds=pretraining_seeds,
        recipe=None if recipe == NO_RECIPE else recipe,
        overrides=(given_overrides(overrides),),
    )
    return ended_well(lambda: _compared(plan, launcher, revision))


def _compared(plan: comparison.Plan, launcher: str, revision: str) -> State:
    """Run a comparison's members one after the other, each in a worktree and a task of its own."""
    children = Children()
    with ExitStack() as stack:
        root = Path.cwd()
        if revision != NO_REVISION:  # the members' worktrees are then made from this one
            request = Request(NO_RECIPE, Overrides(), launcher, revision)
            root, _ = stack.enter_context(workspace_of(root, request))
        gpus = stack.enter_context(leased_gpus(launcher))
        environment = children_environment(launcher, gpus.environment)
        place = comparison.Place(root, folder_name(), children, environment, gpus.descriptors)
        stack.enter_context(watching_for_cancellation(children, flow_run.id))
        futures: dict[str, Any] = {}
        for member in comparison.plan_runs(root, plan):
            one = _member_task(member, place).submit(wait_for=list(futures.values()))
            futures[member.name] = one
        wait(list(futures.values()))
        if children.is_stopping:
            raise StoppedError("cancelled: every process of the comparison was ended")
        raise_failures(futures)
        table = comparison.report(place, place.home / "report")
        create_markdown_artifact(
            f"{table}\n\npages: `{place.home / 'report'}`", key="cloze-compare"
        )
        return Completed(message=f"{len(futures)} members compared")


def _member_task(member: comparison.Run, place: comparison.Place) -> Any:
    @task(name=member.name, task_run_name=member.name, cache_policy=NO_CACHE)
    def run() -> State:
        started = time.monotonic()
        try:
            comparison.run_member(member, place, line_logger())
        except StoppedError as error:
            return Cancelled(message=str(error))
        return Completed(message=f"{time.monotonic() - started:.0f} s")

    return run
