"""Facts about where a run comes from: git, dvc.lock, the dvc process above it."""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.settings import read_yaml

LOCK_FILE = Path("dvc.lock")


@dataclass(frozen=True)
class DvcProcess:
    """A running dvc command above this process."""

    pid: int
    key: str
    command: str


def git_facts() -> dict[str, str]:
    """The commit and whether tracked files differ from it; empty outside git."""
    try:
        commit = _git("rev-parse", "HEAD")
        dirty = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"git.commit": commit, "git.dirty": str(bool(dirty)).lower()}


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return result.stdout.strip()


def input_hashes(inputs: Mapping[str, Path]) -> dict[str, str]:
    """`input.<name>` -> the hash that dvc.lock holds for that path, where it holds one.

    An input below an out (`artifacts/pretraining/encoder`) carries the out's hash.
    """
    known = locked_outputs()
    hashes = {}
    for name, path in inputs.items():
        for place in (path, *path.parents):
            if place.as_posix() in known:
                hashes[f"input.{name}"] = known[place.as_posix()]
                break
    return hashes


def locked_outputs(lock_file: Path = LOCK_FILE) -> dict[str, str]:
    """Path -> md5 of every out in dvc.lock; empty where there is none yet."""
    if not lock_file.is_file():
        return {}
    stages = read_yaml(lock_file).get("stages", {})
    return {out["path"]: out["md5"] for entry in stages.values() for out in entry.get("outs", [])}


def params_hash(params: Mapping[str, Any]) -> str:
    """Hash of the validated settings."""
    text = json.dumps(params, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def dvc_process() -> DvcProcess | None:
    """The outermost dvc process above this one, found through /proc; None without either."""
    found = None
    pid = os.getppid()
    while pid > 1:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return found
        after_name = status.rpartition(")")[2].split()
        parent, start_ticks = int(after_name[1]), after_name[19]
        names = [os.path.basename(word.decode(errors="replace")) for word in words if word]
        if "dvc" in names[:3]:
            found = DvcProcess(pid, f"dvc-{pid}-{start_ticks}", " ".join(["dvc", *names[2:]]))
        pid = parent
    return found
