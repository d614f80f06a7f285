"""Checks of the checkout and the state root: settings, locks, leases, the journal.

Locks are looked up in the system's table and never tried: a lock that a check held for an instant
could be the one that a trainer is refused.
"""

import json
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from pipelines.doctor.finding import Finding, ok, problem, warning
from pipelines.processes import PROC, process_start
from pipelines.settings import load_settings
from pipelines.workspace import LEASE_FILE, isolated_runs
from stages.core.settings import PARAMS_FILE
from stages.core.state import checkpoints_root, journal_root, state_root
from stages.core.tracking.ledger import Ledger
from stages.core.tracking.store import tracking_uri

_DVC_LOCKS = ("lock", "rwlock.lock")
_RWLOCK = "rwlock"


def settings(root: Path) -> Iterator[Finding]:
    """params.yaml is valid and its sections fit together."""
    load_settings(root)
    yield ok(f"{PARAMS_FILE} is valid")


def root_folder(_root: Path) -> Iterator[Finding]:
    """The state root can be written to."""
    folder = state_root()
    try:
        with tempfile.TemporaryFile(dir=folder):
            yield ok(f"{folder} can be written to")
    except OSError as error:
        yield problem(
            f"{folder}: {error.strerror}", "mend it, or set CLOZE_STATE to another folder"
        )


def dvc_locks(root: Path) -> Iterator[Finding]:
    """No process holds DVC's locks, or a live one does."""
    folder, holders = root / ".dvc" / "tmp", _lock_holders()
    held = [_held(folder / name, holders) for name in _DVC_LOCKS]
    findings = [finding for finding in held if finding is not None]
    findings += _path_locks(folder / _RWLOCK)
    yield from findings or [ok("none is held")]


def leases(root: Path) -> Iterator[Finding]:
    """Who works in which workspace and on which checkpoints."""
    holders = _lock_holders()
    workspaces = [root, *(workspace for workspace, _ in isolated_runs())]
    places = [workspace / LEASE_FILE for workspace in workspaces]
    places += sorted(checkpoints_root().glob("*/lease"))
    held = [_held(place, holders) for place in places]
    yield from [finding for finding in held if finding is not None] or [ok("none is held")]


def journal(_root: Path) -> Iterator[Finding]:
    """What stages told has arrived in MLflow, or is on its way."""
    if not journal_root().is_dir():
        yield ok("empty: nothing has run here yet")
        return
    ledger = Ledger(journal_root(), tracking_uri())
    waiting = ledger.unshipped()
    if not waiting:
        yield ok("all of it is in MLflow")
    elif ledger.has_live_runs():
        yield ok(f"{len(waiting)} journals are being written and shipped")
    else:
        yield warning(
            f"{len(waiting)} journals have not arrived in MLflow", "python -m pipelines replay"
        )


def _lock_holders() -> dict[int, int]:
    """Inode -> pid of every flock on this machine; empty where the system does not tell."""
    table = PROC / "locks"
    holders = {}
    for line in table.read_text(encoding="ascii").splitlines() if table.is_file() else ():
        words = line.split()
        if words[1] == "FLOCK":
            holders[int(words[5].rpartition(":")[2])] = int(words[4])
    return holders


def _held(path: Path, holders: dict[int, int]) -> Finding | None:
    pid = holders.get(path.stat().st_ino) if path.is_file() else None
    if pid is None:
        return None
    if process_start(pid) is not None:
        return ok(f"process {pid} holds {path}")
    return warning(
        f"{path} is held by what process {pid} started before it died",
        f"look at them (fuser -v {path}), and wait or end them: kill PID",
    )


def _path_locks(path: Path) -> list[Finding]:
    """Paths that a dvc command reads or writes, from DVC's own file of them."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError:
        return [warning(f"{path} is not readable", f"delete {path} while no dvc command runs")]
    holders = [*entries.get("write", {}).values(), *chain(*entries.get("read", {}).values())]
    pids = {holder["pid"] for holder in holders if holder}
    dead = sorted(pid for pid in pids if process_start(pid) is None)
    findings = [ok(f"dvc process {pid} works") for pid in sorted(pids - set(dead))]
    if dead:
        named = ", ".join(str(pid) for pid in dead)
        advice = "nothing to do: the next dvc command removes them"
        findings.append(ok(f"left over from dead dvc processes {named}; {advice}"))
    return findings
