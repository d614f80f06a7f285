"""Step checkpoints: written whole or not at all, the newest valid one found again, old ones pruned.

They live under the state root in a folder named by the fingerprint of settings, data and code, so
that a checkpoint of anything else is never picked up. A checkpoint `step-00000200/` holds the
transformers model in `encoder/` and what else the objective trains beside it, everything else that
training needs in `training.pt`, and `checkpoint.json` with the step and the hash of all.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stages.core.artifacts import content_hash, read_json, write_json, writing
from stages.core.errors import ArtifactError

log = logging.getLogger(__name__)
_KEPT = 2
_PREFIX = "step-"
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


def save(
    folder: Path, step: int, write_models: Callable[[Path], None], state: Mapping[str, Any]
) -> Checkpoint:
    """Write the checkpoint of `step`: under a temporary name, synced, then renamed.

    Raises: StorageError: the disk is full or not writable; earlier checkpoints are as they were.
    """
    target = folder / f"{_PREFIX}{step:08d}"
    with _whole(target) as temporary:
        write_models(temporary)
        with (temporary / _STATE).open("wb") as stream:  # by its path, torch hides disk faults
            torch.save(dict(state), stream)
        content = content_hash(temporary)
        write_json(temporary / _DESCRIPTION, {"step": step, "content": content})
    return Checkpoint(target, step, content)


def copy(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """Copy a checkpoint into another folder: whole or not at all, its hash checked again.

    Raises: StorageError: the disk is full or not writable. ArtifactError: damaged on the way.
    """
    target = folder / checkpoint.folder.name
    with _whole(target) as temporary:
        shutil.copytree(checkpoint.folder, temporary, dirs_exist_ok=True)
        read(temporary)
    return Checkpoint(target, checkpoint.step, checkpoint.content)


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Give a temporary folder that is synced and takes the target's place when it is written.

    Raises: StorageError: the disk is full or not writable; the target is as it was.
    """
    folder, temporary = target.parent, target.with_name(f".{target.name}.partial")
    try:
        with writing(target):
            for stale in folder.glob(f".{_PREFIX}*.partial"):  # of a process that was killed
                shutil.rmtree(stale)
            temporary.mkdir(parents=True)
            yield temporary
            _sync(temporary)
            shutil.rmtree(target, ignore_errors=True)
            temporary.rename(target)
            _sync_one(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def newest(folder: Path) -> Checkpoint | None:
    """The newest undamaged checkpoint; a damaged one is reported and passed over."""
    for path in sorted(folder.glob(f"{_PREFIX}*"), reverse=True):
        try:
            return read(path)
        except ArtifactError as error:
            log.warning("checkpoint passed over: %s", error)
    return None


def prune(written: Checkpoint, kept: int = _KEPT) -> list[Path]:
    """Delete all but the newest `kept` checkpoints up to `written`; returns what was deleted.

    Those of later steps are deleted too: they were passed over as damaged, and would push out good
    ones.
    """
    paths = sorted(written.folder.parent.glob(f"{_PREFIX}*"))
    last = paths.index(written.folder) + 1
    old = paths[: max(0, last - kept)] + paths[last:]
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
        _sync_one(path)
    _sync_one(folder)


def _sync_one(path: Path) -> None:
    """Bring a file, or a folder's list of files, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
