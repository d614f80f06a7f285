"""Artefacts on disk: how a stage's folder is written, described, hashed and read back.

Every artefact is a folder with a `manifest.json` that states its properties, so that a later stage
can refuse one that does not fit. A folder is written under a temporary name and renamed when it is
whole: a killed stage leaves nothing half-made. Manifests hold no time, path, commit or run id.

What the folders hold (paths are in dvc.yaml, and only there):

tasks/         <TASK>/{train,dev,test}.parquet: index int64, text_a, text_b (null: single), label
               (int64 class, float64 score, null: unlabelled); further splits by name
corpus/        {train,validation}-NNNNN.parquet: id, title, text
tokenizer/     what `AutoTokenizer.from_pretrained` reads; `statistics.json`
encoding/      see `token_store.py`
masking/       see `examples.py`
pretraining/   encoder/ for `AutoModel.from_pretrained`, tokenizer included; curve.json
finetuning/    <TASK>/metrics.json, predictions.parquet, model/
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError, StorageError

MANIFEST = "manifest.json"
_BLOCK_BYTES = 1 << 20


@contextmanager
def staged_directory(target: Path) -> Iterator[Path]:
    """Give a fresh temporary folder that replaces `target` when the block ends without an error.

    Raises: StorageError: the disk is full, read-only or not permitted; `target` is as it was.
    """
    temporary = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    except OSError as error:
        raise storage_error(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def storage_error(error: OSError, target: Path) -> Exception:
    """The error to raise for `error` while writing `target`: ours for a failing disk."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO):
        return StorageError(
            f"{error.filename or target}: cannot write: {os.strerror(error.errno or 0)}; "
            f"make room or choose another disk, then run again ({target} was left as it was)"
        )
    return error


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, through a temporary name."""
    temporary = path.with_name(f".{path.name}.partial")
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises: ArtifactError: the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: missing; run the stage that makes it (dvc repro)") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path}: not readable as JSON ({error}); run its stage again"
        ) from error


def write_manifest(folder: Path, stage: str, properties: Mapping[str, Any]) -> None:
    """Write the manifest of an artefact made by `stage`; call it last.

    `content` is the hash of the other files, so that the manifest alone identifies the artefact.
    """
    write_json(folder / MANIFEST, {"stage": stage, **properties, "content": content_hash(folder)})


def read_manifest(folder: Path, stage: str) -> dict[str, Any]:
    """Read the manifest of an artefact that `stage` must have made.

    Raises: ArtifactError: it is missing, damaged, or another stage's.
    """
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("stage") != stage:
        found = manifest.get("stage") if isinstance(manifest, dict) else type(manifest).__name__
        raise ArtifactError(f"{folder}: made by {found!r}, expected an artefact of {stage!r}")
    return manifest


def require_equal(where: str, found: Any, expected: Any, remedy: str) -> None:
    """Refuse an artefact whose property differs from what the reader was set to.

    Raises: ArtifactError: they differ.
    """
    if found != expected:
        raise ArtifactError(f"{where} is {found!r}, expected {expected!r}; {remedy}")


def content_hash(path: Path, leave_out: tuple[str, ...] = ()) -> str:
    """The content hash of a file or folder in the form that DVC writes to dvc.lock.

    A file's md5; for a folder the md5 of its sorted list of (md5, relative path), with `.dir`
    behind it. A run can so name its output before DVC has seen it, and later stages find the run
    by what dvc.lock says of their input. `leave_out` names relative paths that do not count.
    Raises: ArtifactError: nothing is there.
    """
    if path.is_file():
        return _file_md5(path)
    if not path.is_dir():
        raise ArtifactError(f"{path}: missing; run the stage that makes it (dvc repro)")
    entries = [
        {"md5": _file_md5(file), "relpath": file.relative_to(path).as_posix()}
        for file in path.rglob("*")
        if file.is_file() and file.relative_to(path).as_posix() not in leave_out
    ]
    entries.sort(key=lambda entry: entry["relpath"])
    listing = json.dumps(entries, sort_keys=True).encode()
    return hashlib.md5(listing, usedforsecurity=False).hexdigest() + ".dir"


def _file_md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
