"""Step checkpoints: written whole or not at all, the newest valid one found again, old ones pruned.

They live under the state root in a folder named by the fingerprint of settings, data and code, so
that a checkpoint of anything else is never picked up. A checkpoint `step-00000200/` holds the
transformers model in `encoder/` and what else the objective trains beside it, everything else that
training needs in `training.pt`, and `checkpoint.json` with the step and the hash of all.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stages.core.artifacts import content_hash, read_json, storage_error, write_json
from stages.core.errors import ArtifactError, LeaseError

log = logging.getLogger(__name__)
_KEPT = 2
_DESCRIPTION = "checkpoint.json"
_STATE = "training.pt"


@dataclass(frozen=True)
class Checkpoint:
    """A finished checkpoint on disk."""

    folder: Path
    step: int
    content: str

    def state(self) -> dict[str, Any]:
        """Optimiser, generators and counters, as they were saved."""
        loaded: dict[str, Any] = torch.load(self.folder / _STATE, weights_only=False)
        return loaded


@contextmanager
def lease(folder: Path) -> Iterator[None]:
    """Hold this checkpoint folder for one trainer; the system frees it when the process dies.

    Raises: LeaseError: another live trainer holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lease").open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            raise LeaseError(
                f"{folder}: another trainer ({stream.read().strip() or 'process unknown'}) works "
                "on these checkpoints; wait for it, or stop it, then run again"
            ) from error
        stream.truncate(0)
        stream.write(f"pid {os.getpid()}\n")
        stream.flush()
        yield


def save(
    folder: Path, step: int, write_models: Callable[[Path], None], state: Mapping[str, Any]
) -> Checkpoint:
    """Write the checkpoint of `step`: under a temporary name, synced, then renamed.

    Raises: StorageError: the disk is full or not writable; earlier checkpoints are as they were.
    """
    target = folder / f"step-{step:08d}"
    temporary = folder / f".{target.name}.partial"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        write_models(temporary)
        torch.save(dict(state), temporary / _STATE)
        content = content_hash(temporary)
        write_json(temporary / _DESCRIPTION, {"step": step, "content": content})
        _sync(temporary)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
        _sync_folder(folder)
    except OSError as error:
        raise storage_error(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Checkpoint(target, step, content)


def copy(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """Copy a checkpoint into another folder: whole or not at all, its hash checked again.

    Raises: StorageError: the disk is full or not writable. ArtifactError: damaged on the way.
    """
    target = folder / checkpoint.folder.name
    temporary = folder / f".{target.name}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(checkpoint.folder, temporary)
        read(temporary)
        _sync(temporary)
        temporary.rename(target)
        _sync_folder(folder)
    except OSError as error:
        raise storage_error(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Checkpoint(target, checkpoint.step, checkpoint.content)


def newest(folder: Path) -> Checkpoint | None:
    """The newest undamaged checkpoint; a damaged one is reported and passed over."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            return read(path)
        except ArtifactError as error:
            log.warning("checkpoint passed over: %s", error)
    return None


def prune(folder: Path, kept: int = _KEPT) -> list[Path]:
    """Delete all but the newest `kept` checkpoints; returns what was deleted."""
    old = sorted(folder.glob("step-*"))[:-kept]
    for path in old:
        shutil.rmtree(path)
    return old


def read(path: Path) -> Checkpoint:
    """The checkpoint in this folder.

    Raises: ArtifactError: it is none, or its content is not what was written.
    """
    description = read_json(path / _DESCRIPTION)
    found = _content(path)
    if found != description["content"]:
        raise ArtifactError(
            f"{path}: its content is {found}, expected {description['content']}: damaged"
        )
    return Checkpoint(path, description["step"], description["content"])


def _content(path: Path) -> str:
    """The hash that `save` computed before it added the description."""
    return content_hash(path, leave_out=(_DESCRIPTION,))


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
