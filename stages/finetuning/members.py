"""One training of a sweep, and its result, kept under the state root by all it depends on.

A member is a task, a system (the encoder, or its random twin), settings and a seed. Its result is
keyed by these, the start, the task's data, the code that trains and the libraries that compute. No
weight of the encoder enters a twin's key, so that a newly trained encoder is compared with a twin
that is not trained again; and a sweep that was stopped goes on behind the last finished member.
"""

import io
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy import ndarray

from stages.core.artifacts import content_hash, read_json
from stages.core.errors import SettingsError
from stages.core.fingerprint import code_fingerprint, fingerprint
from stages.core.state import state_root
from stages.finetuning.extraction import ExtractionSettings
from stages.finetuning.params import FinetuningParams, Training
from stages.finetuning.task import Task

log = logging.getLogger(__name__)
ENCODER, TWIN = "encoder", "twin"
SYSTEMS = (ENCODER, TWIN)
_NO_ARCHITECTURE = ("_name_or_path", "architectures", "transformers_version")
_OF_A_HEAD = ("id2label", "label2id", "problem_type")  # of a task's model that is a start
_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")
_FACTS = ".facts"


class DivergedError(SettingsError):
    """A loss is no longer a number: the settings ask for too much."""


@dataclass(frozen=True)
class Member:
    """One training."""

    system: str
    training: Training
    seed: int
    key: str
    suffix: str = ""
    """Where settings are searched: `/` and what they are."""

    @property
    def series(self) -> str:
        """What its numbers are called in the journal and the log."""
        return f"{self.system}/seed-{self.seed}{self.suffix}"


@dataclass(frozen=True)
class Result:
    """What a member's training gave."""

    outputs: Mapping[str, ndarray]
    """Split -> the head's outputs (N, C), for every split but train."""
    curve: list[dict[str, float]]
    """One entry an epoch: epoch, step, train_loss, dev_score, dev_<metric>."""
    dev_score: float
    """The score on dev, of the epoch that was taken."""


@dataclass(frozen=True)
class Job:
    """What all members of one task share, as a process that trains them needs it."""

    start: Path
    task: Task
    features: Path
    """Folder with the encoded examples of each split."""
    frozen: str | None
    """Which features a frozen encoder gives; None where all weights are trained."""
    extraction: ExtractionSettings | None
    """How answers are found; None where none are."""
    journal_key: str
    num_threads: int


@dataclass(frozen=True)
class Order:
    """A member to train, and where its model is to be written, if anywhere."""

    member: Member
    model_folder: Path | None


class MemberKeys:
    """Names members; what all of them share is hashed once."""

    def __init__(self, params: FinetuningParams, start: Path, task: Path, name: str) -> None:
        config: dict[str, Any] = read_json(start / "config.json")
        shape = {
            fact: config[fact] for fact in config if fact not in (*_NO_ARCHITECTURE, *_OF_A_HEAD)
        }
        self.start = {ENCODER: content_hash(start), TWIN: shape}
        self.shared = {
            "tokenizer": content_hash(start / "tokenizer.json"),
            "task": content_hash(task),
            "settings": params.tasks[name].model_dump(mode="json", exclude={"start", "protocol"}),
            "mode": params.mode,
            "features": params.features,
            "code": code_fingerprint("stages.finetuning.worker"),
            "libraries": {library: version(library) for library in _LIBRARIES},
        }

    def member(self, system: str, training: Training, seed: int, suffix: str = "") -> Member:
        """The member of these."""
        facts = {
            **self.shared,
            "start": self.start[system],
            "training": training.model_dump(mode="json"),
            "seed": seed,
        }
        return Member(system, training, seed, fingerprint(facts), suffix)


def keep(member: Member, result: Result) -> None:
    """Keep a result; a disk that cannot take it costs only the next run its time."""
    buffer = io.BytesIO()
    facts = json.dumps({"curve": result.curve, "dev_score": result.dev_score}).encode()
    arrays = {**result.outputs, _FACTS: np.frombuffer(facts, dtype=np.uint8)}
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    path = _path(member)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(path)
    except OSError as error:
        log.warning("%s: cannot be kept (%s); the next run trains it again", path, error)
        temporary.unlink(missing_ok=True)


def kept(member: Member, *, sizes: Mapping[str, int]) -> Result | None:
    """The kept result; None without one.

    `sizes` are the examples of each split: what is damaged or does not fit counts as none.
    """
    path = _path(member)
    if not path.is_file():
        return None
    try:
        with np.load(path) as stored:  # a zip file: each array carries its checksum
            arrays = {name: stored[name] for name in stored.files}
        facts = json.loads(arrays.pop(_FACTS).tobytes())
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        log.warning("%s: not readable (%s); it is trained again", path, error)
        return None
    found = {name: len(one) for name, one in arrays.items()}
    if found != dict(sizes):
        log.warning("%s: holds %s, expected %s; it is trained again", path, found, dict(sizes))
        return None
    return Result(arrays, **facts)


def _path(member: Member) -> Path:
    return state_root() / "members" / f"{member.key}.npz"
