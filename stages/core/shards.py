"""A stage's work in shards, each kept on disk with a marker as soon as it is there.

In: a plan, which is the name and the item of every shard in a fixed order, and a pure function of
an item. Out: the results in the order of the plan, whatever executes them (`CLOZE_EXECUTOR`). A
result is a file below the state root, `<name>.done` beside it holds its sha256: a stage that was
killed computes only what has no valid marker, and the folder goes when the stage is done. The
folder is named by all that its results depend on, a shard by what tells it from the others.
"""

import fcntl
import hashlib
import logging
import os
import pickle
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from platform import python_version
from typing import IO, Any, Generic, TypeVar

from stages.core.errors import StorageError
from stages.core.execution import read_execution
from stages.core.fingerprint import code_fingerprint, fingerprint
from stages.core.logs import fields
from stages.core.parallel import ordered_map
from stages.core.ray_tasks import ordered_map_on_ray
from stages.core.settings import Section
from stages.core.state import shards_root

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")
_LIBRARIES = ("datasketch", "numpy", "pyarrow", "sentencex", "tokenizers")
_LEASE = "lease"


@contextmanager
def kept_shards(
    stage: str, params: Section, inputs: Mapping[str, str | None]
) -> Iterator["KeptShards"]:
    """Give the shards of a stage with these settings, inputs (hashes), code and libraries.

    They stay when the block ends by an error, and are removed when it ends without one. Two
    processes that want the same ones at once get a folder each.
    """
    facts = {
        "settings": params.model_dump(mode="json"),
        "inputs": dict(inputs),
        "code": code_fingerprint(f"stages.{stage}.run"),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "python": python_version(),
    }
    with _leased(shards_root() / f"{stage}-{fingerprint(facts)}") as folder:
        shards = KeptShards(folder)
        if found := len(list(folder.glob("*.done"))):
            log.info("%s", fields("going on", finished_shards=found, folder=folder))
        yield shards
        shutil.rmtree(folder, ignore_errors=True)


class KeptShards:
    """The shards in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder.resolve()

    def map(
        self,
        function: Callable[[Item], Result],
        plan: Iterable[tuple[str, Item]],
        *,
        most_workers: int | None = None,
        initializer: Callable[..., None] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> Iterator[Result]:
        """Yield the result of each shard of `plan`, in order; what is finished is not computed.

        `plan` holds names, which are part of a file's, and items; it is read as the work goes on.
        `function` may run twice for a shard whose worker was lost. With one worker all is done
        here; `initializer` runs once in each worker.
        """
        work = (_Work(self._folder / name, function, item) for name, item in plan)
        execution = read_execution()
        set_up: dict[str, Any] = {"initializer": initializer, "initargs": initargs}
        if execution.executor == "ray" and most_workers != 1:
            workers = min(filter(None, (execution.ray_workers, most_workers)), default=None)
            paths = ordered_map_on_ray(
                _finish, work, address=execution.ray_address, workers=workers, **set_up
            )
            yield from map(_read, paths)
            return
        workers = min(execution.workers, most_workers or execution.workers)
        if workers == 1:
            yield from ordered_map(_finished, work, workers=1, **set_up)
        else:
            yield from map(_read, ordered_map(_finish, work, workers=workers, **set_up))

    def read(self, name: str) -> Any:
        """The result of a finished shard.

        Raises: StorageError: it is not what was written.
        """
        return _read(self._folder / name)


@dataclass(frozen=True)
class _Work(Generic[Item, Result]):
    """One shard to finish; `path` is its files' without their suffixes."""

    path: Path
    function: Callable[[Item], Result]
    item: Item


def _finish(work: _Work[Item, Result]) -> Path:
    """See that a shard is finished; returns its path. A large result so travels by the disk."""
    if not _is_finished(work.path):
        _write(work.path, work.function(work.item))
    return work.path


def _finished(work: _Work[Item, Result]) -> Result:
    """The result of a shard, computed here where it is not finished."""
    if _is_finished(work.path):
        return _read(work.path)
    result = work.function(work.item)
    _write(work.path, result)
    return result


def _result_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.pickle")


def _marker(path: Path) -> Path:
    return path.with_name(f"{path.name}.done")


def _is_finished(path: Path) -> bool:
    """Whether the shard has a marker, and its result is the one that the marker is of."""
    try:
        expected = _marker(path).read_text(encoding="ascii")
    except (FileNotFoundError, UnicodeDecodeError):
        return False
    try:
        found = _hash(_result_file(path).read_bytes())
    except FileNotFoundError:
        found = "none"
    if found != expected:
        log.warning("%s: has the hash %s, its marker says %s: redone", path, found, expected)
    return found == expected


def _write(path: Path, result: Any) -> None:
    """Write the result, then its marker, each whole or not at all."""
    content = pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)
    _replace(_result_file(path), content)
    _replace(_marker(path), _hash(content).encode())


def _replace(path: Path, content: bytes) -> None:
    """Rename from a name of its own: two workers may have the same shard after a lost one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _read(path: Path) -> Any:
    try:
        content = _result_file(path).read_bytes()
        expected = _marker(path).read_text(encoding="ascii")
    except FileNotFoundError as error:
        raise StorageError(
            f"{error.filename}: a finished shard is gone; do all workers see this folder, and does "
            "nobody else remove it? Run again: what is left is not computed again"
        ) from error
    if (found := _hash(content)) != expected:
        raise StorageError(
            f"{path}: a finished shard has the hash {found}, expected {expected}: the disk lost "
            "or changed it; run again, it is then computed again"
        )
    return pickle.loads(content)  # noqa: S301  its hash is the one of what this stage wrote


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:  # a node's extra brings fewer
        return None


@contextmanager
def _leased(stem: Path) -> Iterator[Path]:
    """The first of `<stem>.0`, `<stem>.1` and so on that no living process works in."""
    for number in count():
        folder = stem.with_name(f"{stem.name}.{number}")
        if stream := _lease(folder):
            with stream:
                yield folder
            return


def _lease(folder: Path) -> IO[str] | None:
    """Hold a folder for this process; None where another one does."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            stream = (folder / _LEASE).open("a", encoding="utf-8")
        except FileNotFoundError:  # its process has just ended and removed it
            continue
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return None
        if os.fstat(stream.fileno()).st_nlink:
            return stream
        stream.close()  # removed after it was opened: what is held is no longer there
