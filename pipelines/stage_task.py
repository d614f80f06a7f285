"""One Prefect task a DVC stage: how often it is tried, how long it may take, what it is told.

A task's final state says what became of the stage (Completed, Cached, Skipped). What a retry cannot
mend (wrong parameters, a bad input: exit codes 2 and 3) is not tried again; a pre-training that is
goes on from its newest checkpoint. The gate is tried like a stage: days of training lie behind it.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, State
from prefect.tasks import exponential_backoff

from pipelines.processes import Children, StoppedError
from pipelines.promotion import judge_here, obstacle_to_judging
from pipelines.repro import Outcome, reproduce_stage
from pipelines.training_progress import TrainingProgress
from stages.core.errors import ClozeError, SettingsError
from stages.core.execution import available_cores

PARALLEL_VARIABLE = "CLOZE_PARALLEL_STAGES"
RETRIES_VARIABLE = "CLOZE_STAGE_RETRIES"
HOURS_VARIABLE = "CLOZE_STAGE_TIMEOUT_HOURS"
DELAY_VARIABLE = "CLOZE_RETRY_DELAY_SECONDS"
REGISTRATION, GATE, PRETRAINING = "registration", "gate", "pretraining"
OTHERS = "others"
RETRIES: dict[str, float] = {
    PRETRAINING: 3,
    "finetuning": 2,
    "evaluation": 0,
    REGISTRATION: 3,  # a minute in all: long enough for MLflow to start again
    GATE: 3,
    OTHERS: 1,
}
HOURS: dict[str, float] = {PRETRAINING: 1440, "finetuning": 168, "evaluation": 12, OTHERS: 48}
_FIRST_DELAY_SECONDS = 10.0
_LASTING_FAULTS = (2, 3)
_MESSAGES = {
    Outcome.RAN: "ran",
    Outcome.CACHED: "restored from DVC's run-cache",
    Outcome.SKIPPED: "unchanged after its upstream ran",
}


@dataclass
class Run:
    """One run of the pipeline in one workspace: what all its tasks share."""

    workspace: Path
    descriptors: tuple[int, ...]
    """Leases that children prolong."""
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


def of_stage(stage: str, usual: Mapping[str, float], variable: str) -> float:
    """A stage's number of a table; `pretraining=5,others=0` in the environment replaces its rows.

    Raises: SettingsError: the variable is not of that form.
    """
    table = dict(usual)
    for part in filter(None, os.environ.get(variable, "").split(",")):
        name, equals, text = part.strip().partition("=")
        if not equals or not text.replace(".", "", 1).isdecimal():
            raise SettingsError(
                f"environment: {variable} has {part!r}, expected STAGE=NUMBER, several separated "
                f"by commas, {OTHERS!r} for those that are not named"
            )
        table[name] = float(text)
    return table.get(stage.partition("@")[0], table[OTHERS])


def can_be_mended(_task: Any, _task_run: Any, state: State) -> bool:
    """Whether another try may help: an error of ours says by its exit code of which kind it is."""
    error = state.data
    return not (isinstance(error, ClozeError) and error.exit_code in _LASTING_FAULTS)


def stage_task(stage: str, run: Run) -> Any:
    """The Prefect task of one stage."""

    @task(**_task_options(stage))
    def reproduce() -> State:
        if run.is_unchanged(stage):
            run.outcomes[stage] = Outcome.SKIPPED
            return Completed(name=Outcome.SKIPPED.value, message="unchanged since dvc.lock")
        try:
            run.outcomes[stage] = _reproduced(stage, run)
        except StoppedError as error:
            return Cancelled(message=str(error))
        return Completed(name=run.outcomes[stage].value, message=_MESSAGES[run.outcomes[stage]])

    return reproduce


def gate_task(run: Run) -> Any:
    """The task that compares the candidate with the champion: last, and never cached."""

    @task(**_task_options(GATE))
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
                on_line=line_logger(),
                pass_fds=run.descriptors,
            )
        except StoppedError as error:
            return Cancelled(message=str(error))
        return Completed(message=message)

    return judge


def _task_options(name: str) -> dict[str, Any]:
    """What Prefect is told of a task: its name, and when it is tried again."""
    return {
        "name": name,
        "task_run_name": name,
        "cache_policy": NO_CACHE,
        "retries": int(of_stage(name, RETRIES, RETRIES_VARIABLE)),
        "retry_delay_seconds": exponential_backoff(_first_delay()),
        "retry_condition_fn": can_be_mended,
    }


def line_logger() -> Callable[[str], None]:
    """Hands lines that are not empty to the log of the present run."""
    logger = get_run_logger()
    return lambda line: logger.info("%s", line) if line else None


def _reproduced(stage: str, run: Run) -> Outcome:
    """Run the stage; the steps of a training are shown while it runs."""
    log = line_logger()
    progress = TrainingProgress() if stage == PRETRAINING else None

    def read(line: str) -> None:
        log(line)
        if progress:
            progress.read(line)

    with progress.shown() if progress else nullcontext():
        return reproduce_stage(
            stage,
            workspace=run.workspace,
            children=run.children,
            environment=_stage_environment(stage, run),
            on_line=read,
            pass_fds=run.descriptors,
            timeout_seconds=3600 * of_stage(stage, HOURS, HOURS_VARIABLE),
        )


def _first_delay() -> float:
    """Seconds before the second try; each later one waits twice as long."""
    text = os.environ.get(DELAY_VARIABLE, "")
    return float(text) if text.replace(".", "", 1).isdecimal() else _FIRST_DELAY_SECONDS


def _stage_environment(stage: str, run: Run) -> dict[str, str]:
    """Items of one `foreach` share the cores, so that side by side they do not take all twice."""
    environment = dict(run.environment)
    family, is_item, _ = stage.partition("@")
    if is_item and "CLOZE_WORKERS" not in environment:
        items = sum(name.startswith(f"{family}@") for name in run.upstreams)
        at_once = min(items, parallel_stages())
        environment["CLOZE_WORKERS"] = str(max(1, available_cores() // at_once))
    return environment
