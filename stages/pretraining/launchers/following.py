"""Follows the job of a training from beside it: submits it or attaches to it, and takes its result.

The id is kept in `job.json` beside the checkpoints. Whoever trains the same settings, data and
code finds it there and attaches: after a kill of the first process nothing is submitted twice.
Any number of processes may follow one job, and each takes its own copy of the result.
"""

import fcntl
import logging
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from stages.core.artifacts import read_json, require_content, write_json
from stages.core.errors import ArtifactError, SettingsError
from stages.core.logs import fields
from stages.pretraining.launchers.cluster import STOPPED_CODE, Cluster, ClusterError, Job
from stages.pretraining.launchers.torchrun import GRACE_SECONDS

RECORD = "job.json"
EXPORT = "export"
_LOST_CODE = 1
_TICK_SECONDS = 0.1
_MARGIN_SECONDS = 30.0  # beyond a job's own patience with its ranks
_SETTLE_SECONDS = 10.0  # until a file of another node is seen on a network disk

log = logging.getLogger(__name__)


@dataclass
class _Stop:
    """Whether this process was told to stop."""

    is_asked: bool = False

    def note(self, signum: int, _frame: FrameType | None) -> None:
        """The handler of the signals."""
        log.warning("%s", fields("stopping the job", signal=signal.Signals(signum).name))
        self.is_asked = True

    def wait(self, seconds: float) -> None:
        """Sleep; a signal is answered within a tick."""
        was_asked, until = self.is_asked, time.monotonic() + seconds
        while time.monotonic() < until and self.is_asked == was_asked:
            time.sleep(min(seconds, _TICK_SECONDS))


def train(cluster: Cluster, make_job: Callable[[int], Job], out: Path, *, poll: float) -> int:
    """Have the training done by a job, the one that is under way or a new one; its exit code.

    `make_job`: the job of the attempt with this number, which exports to `EXPORT` beside the
    checkpoints; the export is copied into `out` after exit code 0. `poll`: seconds between two
    questions. A SIGTERM or SIGINT here ends the job behind a checkpoint; a SIGKILL leaves it alone.
    Raises: ClusterError: the cluster refused the job, or does not answer before one is followed;
    the next call finds what it may have taken. SettingsError: another launcher's job is on record.
    """
    with _told_to_stop() as stop:
        job, job_id = _enter(cluster, make_job)
        code = _follow(cluster, job, job_id, stop, poll) if job_id else 0
    if code == 0:
        shutil.copytree(job.folder / EXPORT, out, dirs_exist_ok=True)
    return code


@contextmanager
def _told_to_stop() -> Iterator[_Stop]:
    stop = _Stop()
    before = {each: signal.signal(each, stop.note) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _enter(cluster: Cluster, make_job: Callable[[int], Job]) -> tuple[Job, str]:
    """The job on record or a new one, and its id; an empty id where it has succeeded already."""
    folder = make_job(0).folder
    with (folder / "job.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two that begin at once submit one job
        facts = _read_record(cluster, make_job)
        number = int(facts.get("attempt", 0))
        if facts:
            job = make_job(number)
            found = _on_record(cluster, job, facts)
            if found is not None:
                return job, found
        return _submit(cluster, make_job(number + 1), number + 1)


def _read_record(cluster: Cluster, make_job: Callable[[int], Job]) -> dict[str, Any]:
    """What is noted of the newest attempt; empty before the first.

    A damaged record is one without an id: the number is that of the last job that can be found.
    """
    folder = make_job(0).folder
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        facts = read_json(path)
        if isinstance(facts, dict) and {"launcher", "attempt"} <= facts.keys():
            return facts
        found = f"{path}: holds {facts!r}, expected a launcher and an attempt"
    except ArtifactError as error:  # a power cut may leave it empty
        found = str(error).rpartition("; ")[0]
    log.warning("%s; asking the cluster for the job by its name", found)
    newest = _newest_attempt(folder)
    if cluster.attach(make_job(newest + 1)):  # a job that waits has left no file
        newest += 1
    return {"launcher": cluster.name, "attempt": newest} if newest else {}


def _newest_attempt(folder: Path) -> int:
    """The number of the last attempt that left a file; 0 without any."""
    left = [*folder.glob("*.log"), *folder.glob("*.code")]
    numbers = [path.stem.rpartition("-")[2] for path in left]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def _on_record(cluster: Cluster, job: Job, facts: dict[str, Any]) -> str | None:
    """The id of the recorded job where it goes on, empty where it succeeded, None where it failed.

    Raises: SettingsError: it is another launcher's, and may go on.
    """
    if facts["launcher"] != cluster.name:
        if job.code.is_file():
            return None
        raise SettingsError(
            f"environment: CLOZE_LAUNCHER is {cluster.name!r}, but {job.folder / RECORD} names the "
            f"job {job.name} of {facts['launcher']!r}; set that launcher to attach to it, or end "
            "the job and delete the file"
        )
    job_id = facts.get("id") or cluster.attach(job)
    if job_id and cluster.poll(job_id) != "over":
        cluster.logs(job, job_id)  # which has been read by who submitted it
        log.info("%s", fields("attached", job=job_id, launcher=cluster.name, log=job.log))
        return job_id
    return "" if _has_succeeded(job) else None


def _has_succeeded(job: Job) -> bool:
    """Whether the job of a process that is gone has left a whole export."""
    if _read_code(job) != 0:
        return False
    try:
        require_content(job.folder / EXPORT, "pretraining")
    except ArtifactError as error:
        log.warning("%s: made again", error)
        return False
    log.info("%s", fields("taking the result", job=job.name))
    return True


def _submit(cluster: Cluster, job: Job, number: int) -> tuple[Job, str]:
    """Submit a job; the record is there before, so that a kill in between loses nothing."""
    job.code.unlink(missing_ok=True)
    facts = {"launcher": cluster.name, "name": job.name, "attempt": number}
    write_json(job.folder / RECORD, facts)
    job_id = cluster.submit(job)
    write_json(job.folder / RECORD, facts | {"id": job_id})
    log.info("%s", fields("submitted", job=job_id, launcher=cluster.name, log=job.log))
    return job, job_id


def _follow(cluster: Cluster, job: Job, job_id: str, stop: _Stop, poll: float) -> int:
    """Show the job's log until it is over; the exit code that it left."""
    state, asked_at = "", 0.0
    while True:
        before, state = state, _state(cluster, job_id, state)
        if state != before:
            log.info("%s", fields("job", id=job_id, state=state))
        _show(cluster, job, job_id)
        if state == "over":
            return _code(job, stop)
        if stop.is_asked:
            asked_at = asked_at or time.monotonic()
            patience = GRACE_SECONDS + _MARGIN_SECONDS
            _cancel(cluster, job_id, at_once=time.monotonic() - asked_at > patience)
        stop.wait(min(1.0, poll) if stop.is_asked else poll)


def _state(cluster: Cluster, job_id: str, before: str) -> str:
    """Where the job stands; a cluster that does not answer is asked again later."""
    try:
        return cluster.poll(job_id)
    except ClusterError as error:
        log.warning("%s", error)
        return before


def _show(cluster: Cluster, job: Job, job_id: str) -> None:
    try:
        sys.stderr.write(cluster.logs(job, job_id))
        sys.stderr.flush()
    except ClusterError as error:
        log.warning("%s", error)


def _cancel(cluster: Cluster, job_id: str, *, at_once: bool) -> None:
    try:
        cluster.cancel(job_id, at_once=at_once)
    except ClusterError as error:
        log.warning("%s", error)


def _code(job: Job, stop: _Stop) -> int:
    """The exit code of a job that is over."""
    until = time.monotonic() + (0 if stop.is_asked else _SETTLE_SECONDS)
    while (code := _read_code(job)) is None and time.monotonic() < until:
        time.sleep(_TICK_SECONDS)
    if code is not None:
        return code
    if stop.is_asked:
        return STOPPED_CODE
    log.error(
        "%s: the job is over and left no exit code: it was cancelled, killed or lost its node; "
        "%s may say more; run again to go on from the last checkpoint",
        job.name,
        job.log,
    )
    return _LOST_CODE


def _read_code(job: Job) -> int | None:
    try:
        return int(job.code.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
