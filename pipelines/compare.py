"""`compare`: objectives pre-trained at equal compute over the same corpus, fine-tuned, reported.

Each member (objective, pre-training seed) is a run of its own in a git worktree with the shared
cache and state root: corpus, tokenizer and encoding are computed once. By default everything but
the objective is equal (recipes/parts/equal-terms/); `as_published` takes each paper's tokenizer,
masks and optimiser (recipes/parts/systems/). Nothing is registered. A finished member is kept under
`<state>/comparisons/<name>/`, and DVC restores what an earlier comparison has computed.
"""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.devices import leased_gpus
from pipelines.environment import child_environment
from pipelines.journal import metric_of_maker, pipeline_journal
from pipelines.processes import Children
from pipelines.recipes import changed_params, differences, read_recipe
from pipelines.repro import DVC, StageError
from pipelines.settings import Settings
from pipelines.workspace import isolated_workspace, leased_workspace
from stages.core.artifacts import staged_directory, write_json
from stages.core.errors import SettingsError
from stages.core.execution import WAIT_VARIABLE, launcher_name
from stages.core.settings import PARAMS_FILE
from stages.core.state import state_root
from stages.core.tracking import lineage
from stages.pretraining.params import DEMANDS

log = logging.getLogger(__name__)
REPORTS = Path("reports") / "comparison"
_KEPT_FILES = {
    "evaluation.json": "reports/evaluation.json",
    "report.html": "reports/report.html",
    "pretraining.json": "artifacts/pretraining/manifest.json",
    "curve.json": "artifacts/pretraining/curve.json",
    "params.yaml": "params.yaml",
    "dvc.lock": "dvc.lock",
}
_UNITS = ("steps", "tokens", "flops", "minutes")


@dataclass(frozen=True)
class Plan:
    """What is compared."""

    objectives: tuple[str, ...]
    budget: Mapping[str, Any]
    is_as_published: bool
    num_pretraining_seeds: int
    recipe: str | None
    overrides: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Run:
    """One member of a comparison, ready to run."""

    objective: str
    seed: int
    order: int
    text: str
    settings: Settings

    @property
    def name(self) -> str:
        """What its folder is called."""
        return f"{self.objective}-{self.seed}"


def parse_budget(text: str) -> dict[str, Any]:
    """`flops=3e13` as the setting `pretraining.budget`.

    Raises: SettingsError: it is not UNIT=AMOUNT.
    """
    unit, equals, amount = text.partition("=")
    try:
        number = float(amount)
    except ValueError:
        number = 0.0
    if unit not in _UNITS or not equals or number <= 0:
        raise SettingsError(
            f"--budget {text!r}: expected UNIT=AMOUNT, a number above 0 of {', '.join(_UNITS)}, "
            "for instance flops=3e13"
        )
    return {"unit": unit, "amount": number}


def parse_objectives(text: str) -> tuple[str, ...]:
    """Names of objectives, separated by commas.

    Raises: SettingsError: a name is not known, or is there twice.
    """
    names = tuple(part.strip() for part in text.split(","))
    unknown = [name for name in names if name not in DEMANDS]
    if unknown or len(set(names)) != len(names):
        raise SettingsError(
            f"--objectives {text!r}: expected different ones of {', '.join(DEMANDS)}, found "
            f"{unknown or 'one twice'}"
        )
    return names


def plan_runs(root: Path, plan: Plan) -> list[Run]:
    """Every member with its validated settings; nothing runs before all are valid.

    Raises: SettingsError: a member's settings do not fit.
    """
    part = "systems" if plan.is_as_published else "equal-terms"
    runs = []
    for order, objective in enumerate(plan.objectives):
        system = read_recipe(root, f"parts/{part}/{objective}")
        for number in range(plan.num_pretraining_seeds):
            changes = [system, {"pretraining": {"budget": plan.budget}}, *plan.overrides]
            _, base = changed_params(root, plan.recipe, changes)
            seed = base.pretraining.seed + number
            changes.append({"pretraining": {"seed": seed}})
            text, settings = changed_params(root, plan.recipe, changes)
            runs.append(Run(objective, seed, order, text, settings))
    return runs


@dataclass(frozen=True)
class Place:
    """Where members of one comparison run, and what watches over them."""

    root: Path
    comparison: str
    children: Children
    environment: Mapping[str, str]
    descriptors: tuple[int, ...] = ()
    """Leases that children prolong."""

    @property
    def home(self) -> Path:
        """The folder of what is kept."""
        return state_root() / "comparisons" / self.comparison


def run_comparison(root: Path, plan: Plan, name: str) -> str:
    """Run every member and write the reports; returns the table as text.

    Raises: ClozeError: settings, a stage or the report failed; finished members are kept.
    """
    runs = plan_runs(root, plan)
    with leased_gpus(launcher_name()) as gpus:
        environment = child_environment(**{WAIT_VARIABLE: "1"}, **gpus.environment)
        place = Place(root, name, Children(), environment, gpus.descriptors)
        for number, run in enumerate(runs, start=1):
            log.info("member %d of %d: %s", number, len(runs), run.name)
            run_member(run, place, partial(log.info, "%s: %s", run.name))
    return report(place, root / REPORTS)


def run_member(run: Run, place: Place, on_line: Callable[[str], None]) -> None:
    """Bring one member's evaluation up to date in a worktree of its own, and keep its results.

    Raises: StageError: a stage failed. StoppedError: the run was cancelled.
    """
    before = (place.root / PARAMS_FILE).read_text(encoding="utf-8")
    name = f"{place.comparison}-{run.name}"
    facts = {"comparison": place.comparison, "changes": list(differences(before, run.text))}

    def make() -> Path:
        return isolated_workspace(place.root, lambda _: run.text, name=name, facts=facts)

    with (
        leased_workspace(make) as (workspace, lease),
        pipeline_journal(run.settings, flow_run_id=name, workspace=workspace) as key,
    ):
        code = place.children.run(
            [*DVC, "repro", "evaluation"],
            cwd=workspace,
            environment={**place.environment, "CLOZE_PIPELINE_RUN": key},
            on_line=lambda line: on_line(line) if line else None,
            pass_fds=(lease.descriptor, *place.descriptors),
        )
        if code != 0:
            raise StageError(f"{workspace}: {run.name} failed with exit code {code}", code)
        _keep_results(run, workspace, place.home / "members" / run.name)


def _keep_results(run: Run, workspace: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kept, made in _KEPT_FILES.items():
        shutil.copyfile(workspace / made, folder / kept)
    keep_predictions(workspace, folder / "predictions", list(run.settings.finetuning.tasks))
    write_json(folder / "member.json", _facts(run, workspace))


def keep_predictions(workspace: Path, folder: Path, tasks: list[str]) -> None:
    """Keep what each fine-tuned task predicted, so that members are compared example by example."""
    with staged_directory(folder) as kept:
        for task in tasks:
            made = workspace / "artifacts" / "finetuning" / task / "predictions.parquet"
            shutil.copyfile(made, kept / f"{task}.parquet")


def _facts(run: Run, workspace: Path) -> dict[str, Any]:
    made = lineage.locked_outputs(workspace / lineage.LOCK_FILE)["artifacts/pretraining"]
    return {
        "objective": run.objective,
        "seed": run.seed,
        "order": run.order,
        "learning_rate": run.settings.pretraining.learning_rate,
        "budget": run.settings.pretraining.budget.model_dump(),
        "minutes": metric_of_maker("pretraining", made, "minutes"),
    }


def report(place: Place, out: Path) -> str:
    """Write the reports on the finished members into a folder; returns the table as text.

    Raises: StageError: they could not be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "stages.evaluation", "compare"]
    command += ["--members", str(place.home / "members"), "--out", str(out)]
    result = subprocess.run(
        command,
        cwd=place.root,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise StageError(f"the report failed: {result.stderr.strip()}", result.returncode)
    return (out / "comparison.md").read_text(encoding="utf-8")


def headline(root: Path) -> str:
    """The comparison's one sentence."""
    path = root / REPORTS / "comparison.json"
    return str(json.loads(path.read_text(encoding="utf-8"))["headline"])
