"""The tracking journal: stages append JSON lines here; a shipper brings them into MLflow later.

Why: training must neither wait for nor die of a tracking server. One file a run under
`<state>/journal/<run key>.jsonl`; each line is one event with `event` and `time` (milliseconds):

    start       run, stage, item, parent, params, tags, host, pid   (again after each resume)
    metrics     step, values
    tags        values
    artifact    path, name                      a small file to attach to the run
    checkpoint  step, path, metrics, content_hash
    pruned      path                            a checkpoint that was deleted
    end         status: FINISHED | FAILED | KILLED, tags

A run key names one MLflow run for ever: a resumed training appends to the file it began.
"""

import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stages.core.artifacts import content_hash
from stages.core.state import journal_root
from stages.core.tracking import lineage

RUN_KEY_VARIABLE = "CLOZE_RUN_KEY"
SHIPPER_MODULE = "stages.core.tracking.shipper"


class RunJournal:
    """Appends the events of one run; cheap, and never raises for want of a server."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.path = journal_root() / f"{key}.jsonl"

    def append(self, event: str, **values: Any) -> None:
        """Append one event as one line in one write."""
        line = {"event": event, "time": int(time.time() * 1000), **values}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Record numbers of one step; what is not finite is left out."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        self.append("metrics", step=step, values=finite)

    def tags(self, values: Mapping[str, str]) -> None:
        """Record text facts of the run."""
        self.append("tags", values=dict(values))

    def artifact(self, path: Path) -> None:
        """Attach a small file; it must outlive the stage."""
        self.append("artifact", path=str(path.resolve()), name=path.name)

    def checkpoint(self, path: Path, step: int, metrics: Mapping[str, float], sha: str) -> None:
        """Record a step checkpoint that was written."""
        values = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        self.append(
            "checkpoint", step=step, path=str(path.resolve()), metrics=values, content_hash=sha
        )

    def pruned(self, path: Path) -> None:
        """Record that a step checkpoint was deleted."""
        self.append("pruned", path=str(path.resolve()))


@contextmanager
def tracked_run(
    stage: str,
    *,
    params: Mapping[str, Any],
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path],
    item: str | None = None,
    key: str | None = None,
) -> Iterator[RunJournal]:
    """Open the journal of one stage run, and close it with status and the outputs' hashes.

    `key` names a run that may be resumed; without it every call is a run of its own.
    """
    journal = RunJournal(key or f"{stage}-{time.strftime('%Y%m%dT%H%M%S')}-{os.urandom(4).hex()}")
    parent = _open_parent()
    tags = {**lineage.git_facts(), **lineage.input_hashes(inputs)}
    if "CLOZE_FLOW_RUN_ID" in os.environ:
        tags["prefect.flow_run_id"] = os.environ["CLOZE_FLOW_RUN_ID"]
    tags["params.sha256"] = lineage.params_hash(params)
    journal.append(
        "start",
        run=journal.key,
        stage=stage,
        item=item,
        parent=parent,
        params=flatten(params),
        tags=tags,
        host=socket.gethostname(),
        pid=os.getpid(),
    )
    ensure_shipper()
    status = "FAILED"
    try:
        yield journal
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        hashes = {}
        if status == "FINISHED":
            hashes = {f"output.{name}": content_hash(path) for name, path in outputs.items()}
        journal.append("end", status=status, tags=hashes)


def ensure_shipper() -> None:
    """Start the shipper in the background unless MLflow is not installed or CLOZE_TRACKING=off.

    A second one finds the first one's lock and ends at once.
    """
    if os.environ.get("CLOZE_TRACKING") == "off" or find_spec("mlflow") is None:
        return
    log = journal_root() / "shipper.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        subprocess.Popen(
            [sys.executable, "-m", SHIPPER_MODULE],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names and short texts, as MLflow params want them."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat


def _open_parent() -> str | None:
    """Key of the pipeline run that this stage belongs to; begun here for a plain dvc process."""
    named = os.environ.get("CLOZE_PIPELINE_RUN")
    if named:
        return named
    process = lineage.dvc_process()
    if process is None:
        return None
    journal = RunJournal(process.key)
    if not journal.path.exists():
        journal.append(
            "start",
            run=process.key,
            stage="pipeline",
            item=None,
            parent=None,
            params={},
            tags={**lineage.git_facts(), "cloze.command": process.command},
            host=socket.gethostname(),
            pid=process.pid,
        )
    return process.key
