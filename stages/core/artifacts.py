"""Artefacts on disk: how a stage's folder is written, described, hashed and read back.

Every artefact is a folder with a `manifest.json` that states its properties, so that a later stage
can refuse one that does not fit. A folder is written under a temporary name and renamed when it is
whole: a killed stage leaves nothing half-made. Manifests hold no time, path, commit or run id.

What the folders hold (paths are in dvc.yaml, and only there):

tasks/         <TASK>/{train,dev,test}.parquet: index int64, text_a, text_b (null: single), label
               (int64 class, float64 score, null: unlabelled); further splits by name. Of kind
               extraction: index, id, question, context, answers list<string>, answer_starts
               list<int64>, the character of context (code points, from 0) that each begins at
corpus/        {train,validation}-NNNNN.parquet: id, title, text
tokenizer/     what `AutoTokenizer.from_pretrained` reads; `statistics.json`
encoding/      see `token_store.py`
masking/       see `examples.py`
pretraining/   encoder/ for `AutoModel.from_pretrained`, tokenizer included; curve.json
finetuning/    <TASK>/metrics.json, predictions.parquet, curves.json, model/ for transformers (of a
               head on pooled layers the encoder, with pooled_head.json beside it)
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError, ClozeError, StorageError

MANIFEST = "manifest.json"
_BLOCK_BYTES = 1 << 20
_DISK_FAULTS = tuple(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ENOTDIR")
)
# As Rust's libraries word it, and shutil.copytree, which gathers the errors of all files as texts.
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)|\[Errno (\d+)\]")


@contextmanager
def staged_directory(target: Path) -> Iterator[Path]:
    """Give a fresh temporary folder that replaces `target` when the block ends without an error.

    Raises: StorageError: the disk is full, read-only or not permitted; `target` is as it was.
    """
    temporary = target.with_name(f".{target.name}.partial")
    try:
        with writing(target):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
            if target.exists():
                shutil.rmtree(target)
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Name the disk's fault where the block fails by one, however a library words it.

    torch and safetensors raise errors of their own, which name neither the file nor the disk.
    Raises: StorageError: the disk is full, read-only or not permitted.
    """
    try:
        yield
    except ClozeError:
        raise
    except Exception as error:
        found = storage_error(error, target)
        if found is error:
            raise
        raise found from error


def storage_error(error: Exception, target: Path) -> Exception:
    """The error to raise for `error` while writing `target`: ours for a failing disk."""
    fault = _system_error(error)
    if fault is None or fault.errno not in _DISK_FAULTS:
        return error
    return StorageError(
        f"{fault.filename or target}: cannot write: {os.strerror(fault.errno or 0)}; "
        f"make room or choose another disk, then run again ({target} was left as it was)"
    )


def _system_error(error: BaseException | None) -> OSError | None:
    """The system's error that lies behind `error`."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error
        if worded := _SYSTEM_ERROR.search(str(error)):
            return OSError(int(worded[1] or worded[2]), str(error))
        error = error.__cause__ or error.__context__
    return None


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

    `content` is the hash of the other files, so that the manifest alone identifies the artefact;
    `files` holds each one's, so that a damaged one can be named.
    """
    entries = _entries(folder, leave_out=(MANIFEST,))
    facts = {"content": _folder_hash(entries), "files": entries}
    write_json(folder / MANIFEST, {"stage": stage, **properties, **facts})


def read_manifest(folder: Path, stage: str) -> dict[str, Any]:
    """Read the manifest of an artefact that `stage` must have made.

    Raises: ArtifactError: it is missing, damaged, or another stage's.
    """
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("stage") != stage:
        found = manifest.get("stage") if isinstance(manifest, dict) else type(manifest).__name__
        raise ArtifactError(f"{folder}: made by {found!r}, expected an artefact of {stage!r}")
    return manifest


def require_content(folder: Path, stage: str) -> None:
    """Refuse an artefact whose files are not those that its manifest was written for; reads all.

    Raises: ArtifactError: naming the files that changed, are missing or cannot be read.
    """
    manifest = read_manifest(folder, stage)
    found = _entries(folder, leave_out=(MANIFEST,))
    if _folder_hash(found) == manifest["content"]:
        return
    expected = manifest.get("files")
    faults = _differences(folder, expected, found) if expected else ["which file is not known"]
    raise ArtifactError(
        f"{folder}: its content is not what stage {stage} wrote: {'; '.join(faults)}; "
        f"run {stage} again"
    )


def _differences(folder: Path, expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """What happened to each file that is not as its hash says."""
    faults = [f"{folder / name} is missing" for name in expected if name not in found]
    faults += [f"{folder / name} is no part of it" for name in found if name not in expected]
    return faults + [
        f"{folder / name} has the hash {found[name]}, expected {md5}"
        for name, md5 in expected.items()
        if found.get(name, md5) != md5
    ]


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
    return _folder_hash(_entries(path, leave_out))


def _entries(folder: Path, leave_out: tuple[str, ...] = ()) -> dict[str, str]:
    """Relative path -> md5 of every file below a folder."""
    files = {f.relative_to(folder).as_posix(): f for f in folder.rglob("*") if f.is_file()}
    return {name: _file_md5(files[name]) for name in sorted(files) if name not in leave_out}


def _folder_hash(entries: Mapping[str, str]) -> str:
    listing = json.dumps([{"md5": md5, "relpath": name} for name, md5 in sorted(entries.items())])
    return hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest() + ".dir"


def _file_md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be read: {os.strerror(error.errno or 0)}; repair it, or run the stage "
            "that makes it again"
        ) from error
    return digest.hexdigest()
