"""Evaluation: what fine-tuning and the stages before it left -> summary, scores and report.

The tasks are those that params.yaml lists under `finetuning.tasks`, and no others: a folder left
over from a task that was taken off the list is not looked at. The settings that the report shows
are the sections that dvc.yaml names as this stage's params, as they stand in the file.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.artifacts import read_json, read_manifest, storage_error, write_json
from stages.core.errors import ArtifactError, SettingsError
from stages.core.logs import fields
from stages.core.settings import PARAMS_FILE, read_yaml
from stages.core.tracking.journal import RunJournal
from stages.core.tracking.lineage import input_hashes
from stages.evaluation.caveats import caveats
from stages.evaluation.diagnostics import diagnose
from stages.evaluation.finetuned import Finetuned, read_finetuned
from stages.evaluation.params import EvaluationParams
from stages.evaluation.report import Upstream, render
from stages.evaluation.scores import SYSTEMS, long_form
from stages.evaluation.summary import describe, family, macro_scores, verdict_rule

log = logging.getLogger(__name__)
UPSTREAM = ("tasks", "corpus", "tokenizer", "encoding", "masking", "pretraining")
INPUTS = ("finetuning", *UPSTREAM)
OUTPUTS = ("evaluation", "scores", "report")
# The params of this stage in dvc.yaml: another section shown would go stale unseen.
SHOWN_SECTIONS = (*UPSTREAM, "finetuning", "evaluation")


def run(params: EvaluationParams, paths: Mapping[str, Path], journal: RunJournal) -> None:
    """Write the three reports.

    Raises: SettingsError: params.yaml lists no task or no seed. ArtifactError: a listed task was
    not fine-tuned, its scores, curves or predictions are incomplete, or an artefact is missing or
    damaged.
    """
    settings = _settings()
    manifests = {stage: read_manifest(paths[stage], stage) for stage in UPSTREAM}
    listed, seeds = settings["finetuning"]["tasks"], settings["finetuning"]["seeds"]
    known = _known_tasks(manifests["tasks"], listed, paths["tasks"])
    tasks = [
        read_finetuned(
            name,
            known[name],
            seeds,
            folder=paths["finetuning"] / name,
            task_folder=paths["tasks"] / name,
        )
        for name in listed
    ]
    evaluation = _evaluate(params, tasks, known)
    hashes = {stage: manifest["content"] for stage, manifest in manifests.items()}
    hashes |= {f"finetuning/{task.name}": task.manifest["content"] for task in tasks}
    evaluation["lineage"] = hashes
    curve_path = paths["pretraining"] / "curve.json"
    page = render(
        evaluation,
        tasks,
        Upstream(
            manifests=manifests,
            task_notes={
                task.name: caveats(
                    known[task.name],
                    task.manifest,
                    listed[task.name],
                    pretraining=paths["pretraining"],
                    is_left_out=task.name in params.macro_score_leaves_out,
                    is_searched=bool(task.selections),
                )
                for task in tasks
            },
            curve=read_json(curve_path),
            curve_path=str(curve_path),
            settings=settings,
            lineage=hashes,
        ),
    )
    _write(paths, evaluation, long_form([task.scores for task in tasks]), page)
    _record(journal, evaluation, paths["finetuning"])


def _settings() -> dict[str, dict[str, Any]]:
    """The shown sections of params.yaml.

    Raises: SettingsError: a section is missing, or there is nothing to evaluate.
    """
    values = read_yaml(PARAMS_FILE)
    for name in SHOWN_SECTIONS:
        if not isinstance(values.get(name), dict):
            raise SettingsError(f"{PARAMS_FILE}: section {name!r} is missing")
    for name in ("tasks", "seeds"):
        if not values["finetuning"].get(name):
            raise SettingsError(
                f"{PARAMS_FILE}: finetuning.{name} is empty, expected at least one; list one"
            )
    return {name: values[name] for name in SHOWN_SECTIONS}


def _known_tasks(
    manifest: Mapping[str, Any], listed: Mapping[str, Any], where: Path
) -> dict[str, Mapping[str, Any]]:
    known = manifest["tasks"]
    missing = [name for name in listed if name not in known]
    if missing:
        raise ArtifactError(
            f"{where}: holds no task {missing}, only {sorted(known)}; correct finetuning.tasks in "
            f"{PARAMS_FILE}, or run the tasks stage again"
        )
    return known


def _evaluate(
    params: EvaluationParams, tasks: list[Finetuned], known: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The content of evaluation.json, but for the lineage."""
    deviations = params.clear_difference_deviations
    entries = {
        task.name: describe(task.scores, known[task.name], deviations) | diagnose(task)
        for task in tasks
    }
    families = {task.name: family(task.name, known[task.name]) for task in tasks}
    scores = [task.scores for task in tasks]
    return {
        "tasks": entries,
        "macro": macro_scores(scores, families, params.macro_score_leaves_out),
        "ahead_of_twin": [name for name, entry in entries.items() if entry["verdict"] == "ahead"],
        "verdict_rule": verdict_rule(deviations),
    }


def _write(paths: Mapping[str, Path], evaluation: Mapping[str, Any], table: str, page: str) -> None:
    """Write the files under temporary names, then rename all of them.

    Raises: StorageError: the disk is full, read-only or not permitted; nothing was replaced.
    """
    drafts = {name: paths[name].with_name(f".{paths[name].name}.partial") for name in OUTPUTS}
    try:
        for draft in drafts.values():
            draft.parent.mkdir(parents=True, exist_ok=True)
        write_json(drafts["evaluation"], evaluation)
        drafts["scores"].write_text(table, encoding="utf-8")
        drafts["report"].write_text(page, encoding="utf-8")
        for name, draft in drafts.items():
            draft.replace(paths[name])
    except OSError as error:
        raise storage_error(error, paths["report"].parent) from error
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _record(journal: RunJournal, evaluation: Mapping[str, Any], finetuning: Path) -> None:
    """The scores as metrics of the run, its inputs as tags, a line a task in the log."""
    tasks = evaluation["tasks"]
    journal.tags(input_hashes({f"finetuning.{name}": finetuning / name for name in tasks}))
    for name, entry in tasks.items():
        means = {system: entry["score"][system]["mean"] for system in SYSTEMS}
        journal.metrics({f"{name}/{system}": mean for system, mean in means.items()})
        log.info("%s", fields("scored", task=name, verdict=repr(entry["verdict"]), **means))
    for key, macro in evaluation["macro"].items():
        journal.metrics({f"macro.{key}/{system}": macro[system] for system in SYSTEMS})
