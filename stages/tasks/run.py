"""The tasks stage: a source of labelled data -> one folder a task, all in one format.

Always every available task is written, whichever are fine-tuned: the corpus keeps clear of all.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.core.artifacts import MANIFEST, read_json, staged_directory, write_manifest
from stages.core.execution import read_execution
from stages.core.logs import fields
from stages.core.tracking.journal import RunJournal
from stages.tasks.files import read_files
from stages.tasks.params import TasksParams
from stages.tasks.splits import Task, write_task

log = logging.getLogger(__name__)


def run(params: TasksParams, paths: Mapping[str, Path], journal: RunJournal) -> None:
    """Write the tasks of the source that the settings choose.

    Raises: SettingsError: a custom task is declared wrongly. ArtifactError: the source holds no
        task, or a faulty one.
    """
    started = time.monotonic()
    facts: dict[str, Any] = {"source": params.source}
    written = {}
    with staged_directory(paths["out"]) as folder:
        for task in read_source(params, facts):
            write_task(folder / task.name, task)
            written[task.name] = read_json(folder / task.name / MANIFEST)
            _log(task)
        write_manifest(folder, "tasks", {**facts, "tasks": written})
    _report(journal, written, seconds=time.monotonic() - started)


def read_source(params: TasksParams, facts: dict[str, Any]) -> Iterator[Task]:
    """Yield the tasks of the chosen source; what identifies the source is added to `facts`."""
    if params.source == "files":
        return read_files(Path(params.input), params.custom)
    if params.source == "hub":
        from stages.tasks.hub import read_hub

        assert params.hub is not None, "the settings ask for the block of their source"
        facts["revision"] = params.hub.revision
        if params.hub.squad is not None:
            facts["squad_revision"] = params.hub.squad.revision
        return read_hub(params.hub)
    from stages.tasks.sample_tasks import read_sample

    return read_sample(params, facts, workers=read_execution().workers)


def _log(task: Task) -> None:
    counts = {name: len(split) for name, split in task.splits.items()}
    log.info("%s", fields("task", name=task.name, **counts))
    if task.note:
        log.warning("%s: %s", task.name, task.note)


def _report(journal: RunJournal, written: Mapping[str, Any], *, seconds: float) -> None:
    examples = {
        f"examples.{name}.{split}": properties["examples"]
        for name, task in written.items()
        for split, properties in task["splits"].items()
    }
    journal.metrics({**examples, "tasks": len(written), "seconds": seconds})
