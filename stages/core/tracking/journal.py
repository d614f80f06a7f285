"""The tracking journal: stages append JSON lines here; a shipper brings them into MLflow later.

Why: training must neither wait for nor die of a tracking server. One file a run under
`<state>/journal/<run key>.jsonl`; each line is one event with `event` and `time` (milliseconds):

    start       run, stage, item, parent, params, tags, host, pid, started, is_watched
                (again after each resume)
    metrics     step, values
    tags        values
    artifact    path, name                      a small file to attach to the run
    checkpoint  step, path, metrics, content_hash
    pruned      path                            a checkpoint that was deleted
    superseded  first, last                     steps that were logged and are trained again
    end         status: FINISHED | FAILED | KILLED, tags, pid

A run key names one MLflow run for ever: a resumed training appends to the file it began. A watched
run writes no `end`: it ends with its process, by the worst status of the runs below it.
"""

import json
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stages.core.artifacts import content_hash
from stages.core.secrets import redacted_values
from stages.core.state import journal_root, state_root
from stages.core.tracking import lineage

SHIPPER_MODULE = "stages.core.tracking.shipper"
_LONGEST_ERROR = 1000
_TAIL_BYTES = 1 << 18  # far more than what follows the last numbers

log = logging.getLogger(__name__)


class RunJournal:
    """Appends the events of one run; cheap, and never raises for want of a server or of disk."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.path = journal_root() / f"{key}.jsonl"
        self._may_be_torn = True
        self._is_failing = False

    def append(self, event: str, **values: Any) -> None:
        """Append one event as one line in one write; an event that cannot be written is dropped.

        Secrets are replaced here, so that neither the file nor MLflow ever holds one.
        """
        shown = values if event == "metrics" else redacted_values(values)
        line = {"event": event, "time": int(time.time() * 1000), **shown}
        try:
            self._write(json.dumps(line, default=str).encode() + b"\n")
            self._is_failing = False
        except OSError as error:
            self._may_be_torn = True
            if not self._is_failing:
                log.warning("%s: %s; its events are not tracked", self.path, error)
            self._is_failing = True

    def _write(self, line: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        stream = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(stream).st_size
            if self._may_be_torn and size and os.pread(stream, 1, size - 1) != b"\n":
                line = b"\n" + line  # a killed process left half a line
            self._may_be_torn = os.write(stream, line) != len(line)
        finally:
            os.close(stream)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Record numbers of one step; what is not finite is left out."""
        self.append("metrics", step=step, values=_finite(values))

    def tags(self, values: Mapping[str, str]) -> None:
        """Record text facts of the run."""
        self.append("tags", values=dict(values))

    def artifact(self, path: Path) -> None:
        """Attach a small file; it must outlive the stage."""
        self.append("artifact", path=str(path.resolve()), name=path.name)

    def checkpoint(self, path: Path, step: int, metrics: Mapping[str, float], sha: str) -> None:
        """Record a step checkpoint that was written."""
        place, values = str(path.resolve()), _finite(metrics)
        self.append("checkpoint", step=step, path=place, metrics=values, content_hash=sha)

    def pruned(self, path: Path) -> None:
        """Record that a step checkpoint was deleted."""
        self.append("pruned", path=str(path.resolve()))

    def rolled_back(self, step: int) -> range:
        """Record that the run goes on from `step`; returns the later steps that it had logged."""
        again = range(step + 1, self._last_step() + 1)
        if again:
            self.append("superseded", first=again[0], last=again[-1])
        return again

    def _last_step(self) -> int:
        """The step of the last numbers in the journal; 0 without any in its last lines."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL_BYTES))
                lines = stream.read().splitlines()
        except OSError:
            return 0
        for line in reversed(lines):
            try:
                event = json.loads(line)
            except ValueError:  # cut off
                continue
            if event["event"] == "metrics":
                return int(event["step"])
        return 0

    def start(
        self,
        stage: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        item: str | None = None,
        parent: str | None = None,
        pid: int | None = None,
        is_watched: bool = False,
    ) -> None:
        """Record that process `pid` (this one by default) begins or resumes the run."""
        self.append(
            "start",
            run=self.key,
            stage=stage,
            item=item,
            parent=parent,
            params=flatten(params),
            tags=dict(tags),
            is_watched=is_watched,
            **asdict(lineage.identify_process(pid or os.getpid())),
        )


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


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
    tags = {**lineage.git_facts(), **lineage.input_hashes(inputs)}
    tags["params.sha256"] = lineage.params_hash(params)
    journal.start(stage, params=params, tags=tags | _flow(), item=item, parent=_open_parent())
    ensure_shipper()
    with _closed(journal) as closing_tags:
        yield journal
        closing_tags |= {f"output.{name}": content_hash(path) for name, path in outputs.items()}


@contextmanager
def pipeline_run(
    key: str, *, params: Mapping[str, Any], tags: Mapping[str, str]
) -> Iterator[RunJournal]:
    """Open and close the parent run of a pipeline.

    The caller hands `key` to the stages that it starts, as CLOZE_PIPELINE_RUN.
    """
    journal = RunJournal(key)
    journal.start("pipeline", params=params, tags={**lineage.git_facts(), **_flow(), **tags})
    ensure_shipper()
    with _closed(journal):
        yield journal


@contextmanager
def _closed(journal: RunJournal) -> Iterator[dict[str, str]]:
    """Append the `end` event that fits how the block is left; yields the tags to close with."""
    status, tags = "FAILED", dict[str, str]()
    try:
        yield tags
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit) as stop:
        code = getattr(stop, "code", 130)
        if not (isinstance(code, int) and 0 < code < 128):  # beyond: 128 + a signal
            status = "KILLED"
        raise
    except Exception as error:
        tags["cloze.error"] = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
        raise
    finally:
        journal.append("end", status=status, tags=tags, pid=os.getpid())


def _flow() -> dict[str, str]:
    flow_run = os.environ.get("CLOZE_FLOW_RUN_ID")
    return {"prefect.flow_run_id": flow_run} if flow_run else {}


def ensure_shipper() -> None:
    """Start the shipper in the background unless MLflow is not installed or CLOZE_TRACKING=off.

    A second one finds the first one's lock and ends at once.
    """
    if os.environ.get("CLOZE_TRACKING") == "off" or find_spec("mlflow") is None:
        return
    place = journal_root() / "shipper.log"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("ab") as stream:
            subprocess.Popen(
                [sys.executable, "-m", SHIPPER_MODULE],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                env={**os.environ, "CLOZE_STATE": str(state_root())},
            )
    except OSError as error:
        log.warning("%s: the shipper was not started (%s); a later run ships this", place, error)


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
    """Key of the pipeline run that this stage belongs to; begun here for a plain dvc process.

    Stages that begin side by side agree on the process, so on the key; whoever creates the file
    begins the run. Where the creator has not written yet a second start does no harm.
    """
    named = os.environ.get("CLOZE_PIPELINE_RUN")
    if named:
        return named
    process = lineage.dvc_process()
    if process is None:
        return None
    journal = RunJournal(process.key)
    try:
        journal.path.parent.mkdir(parents=True, exist_ok=True)
        journal.path.touch(exist_ok=False)
    except FileExistsError:
        if journal.path.stat().st_size:
            return process.key
    except OSError as error:
        log.warning("%s: %s; the stage is tracked without its parent", journal.path, error)
        return None
    tags = {**lineage.git_facts(), "cloze.command": process.command}
    journal.start("pipeline", params={}, tags=tags, pid=process.pid, is_watched=True)
    return process.key
