"""Facts about where a run comes from: git, dvc.lock, the processes above it and their life."""

import hashlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.errors import SettingsError
from stages.core.settings import read_yaml

LOCK_FILE = Path("dvc.lock")
_REREAD_SECONDS = 0.2
# What `git rev-parse --local-env-vars` lists, but for `git -c` (a container's safe.directory may
# stand there), and what changes the text of a diff.
_ELSEWHERE = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIFF_OPTS",
    "GIT_DIR",
    "GIT_EXTERNAL_DIFF",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)


@dataclass(frozen=True)
class DvcProcess:
    """A running dvc command above this process."""

    pid: int
    key: str
    command: str


@dataclass(frozen=True)
class ProcessIdentity:
    """One process for ever: `started` (clock ticks since boot) tells it from a reused pid."""

    host: str
    pid: int
    started: int  # 0 where the machine has no /proc


def git_facts(folder: Path = Path()) -> dict[str, str]:
    """The folder's commit and whether tracked files differ from it; empty outside git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        dirty = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"git.commit": commit, "git.dirty": str(bool(dirty)).lower()}


def _git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=git_environment(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


def git_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which git asks the repository of its folder.

    git sets variables for its hooks that lead every git below them to the hook's repository.
    """
    return {name: value for name, value in environment.items() if name not in _ELSEWHERE}


def input_hashes(inputs: Mapping[str, Path]) -> dict[str, str]:
    """`input.<name>` -> the hash that dvc.lock holds for that path, where it holds one.

    An input below an out (`artifacts/tasks/SST-2`) carries the out's hash; one above outs
    (`artifacts/finetuning`) gives one entry an out, `input.<name>/<rest of the path>`.
    """
    known = locked_outputs()
    hashes = {}
    for name, path in inputs.items():
        holder = next((p for p in (path, *path.parents) if p.as_posix() in known), None)
        if holder is not None:
            hashes[f"input.{name}"] = known[holder.as_posix()]
            continue
        for place, found in known.items():
            if Path(place).is_relative_to(path) and path != Path():
                hashes[f"input.{name}/{Path(place).relative_to(path).as_posix()}"] = found
    return hashes


def locked_outputs(lock_file: Path = LOCK_FILE) -> dict[str, str]:
    """Path -> md5 of every out in dvc.lock; empty where there is none yet.

    Another dvc process may be writing the file: what cannot be read is read once more, then left.
    """
    for attempt in range(2):
        if not lock_file.is_file():
            return {}
        try:
            stages = read_yaml(lock_file).get("stages") or {}
        except SettingsError:
            time.sleep(0 if attempt else _REREAD_SECONDS)
            continue
        outs = [out for entry in stages.values() for out in entry.get("outs", [])]
        return {out["path"]: out["md5"] for out in outs if "md5" in out}
    return {}


def params_hash(params: Mapping[str, Any]) -> str:
    """Hash of the validated settings."""
    text = json.dumps(params, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def identify_process(pid: int) -> ProcessIdentity:
    """Who process `pid` of this machine is."""
    stat = _process_stat(pid)
    return ProcessIdentity(socket.gethostname(), pid, int(stat[19]) if stat else 0)


def is_alive(process: ProcessIdentity) -> bool:
    """Whether that very process still runs; a process of another machine counts as gone.

    A zombie, which only waits to be collected, is gone too.
    """
    if process.host != socket.gethostname():
        return False
    if process.started:
        stat = _process_stat(process.pid)
        return stat is not None and stat[0] != "Z" and int(stat[19]) == process.started
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _process_stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat behind the name: state, parent, ..., [19] start ticks."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def dvc_process() -> DvcProcess | None:
    """The outermost dvc process above this one, found through /proc; None without either."""
    found = None
    pid = os.getppid()
    while pid > 1:
        stat = _process_stat(pid)
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return found
        if stat is None:
            return found
        names = [os.path.basename(word.decode(errors="replace")) for word in words if word]
        if "dvc" in names[:3]:
            command = " ".join(names[names.index("dvc") :])
            found = DvcProcess(pid, f"dvc-{pid}-{stat[19]}", command)
        pid = int(stat[1])
    return found
