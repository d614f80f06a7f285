"""Where a run works: the checkout under a lease, or a git worktree of its own.

A run with the checkout's settings works in the checkout. A run with other settings gets a worktree
under `<state>/runs/<id>/`: the checkout's commit plus what is changed and new in it, params.yaml
from the validated settings, DVC's cache shared (outs are links into it: set-up takes seconds, and
what did not change is not run again). It is kept for look-up; the checkout is never touched.
"""

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.combinations import declared_outs
from pipelines.environment import child_environment
from pipelines.settings import Settings
from stages.core.artifacts import read_json, write_json
from stages.core.errors import LeaseError, SettingsError, StorageError
from stages.core.settings import PARAMS_FILE
from stages.core.state import state_root

KEPT_RUNS = 5
LEASE_FILE = Path(".dvc") / "tmp" / "cloze-run.lock"
RUN_FILE = "run.json"
_CHECKOUT_FOLDER = "checkout"


@dataclass(frozen=True)
class Lease:
    """The right to run in a workspace; children that inherit `descriptor` prolong it."""

    descriptor: int


@contextmanager
def leased(workspace: Path) -> Iterator[Lease]:
    """Hold the workspace for one run.

    The lock lives as long as any process that inherited it: dvc does, so that a flow that was
    killed outright does not let a second run start beside its orphans.
    Raises: LeaseError: another run holds it.
    """
    path = workspace / LEASE_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            raise LeaseError(
                f"{workspace}: another run works here ({stream.read().strip() or 'unknown'}); "
                "wait for it, cancel it, or give this run other settings (it then gets a worktree "
                "of its own)"
            ) from error
        stream.seek(0)
        stream.truncate()
        stream.write(f"pid {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        stream.flush()
        yield Lease(stream.fileno())


def runs_root() -> Path:
    """The folder of isolated runs."""
    return state_root() / "runs"


def isolated_workspace(
    root: Path, params_text: str, settings: Settings, *, name: str, facts: dict[str, object]
) -> Path:
    """Make the worktree of a run with other settings; `facts` are kept beside it as run.json.

    A run that Prefect starts again goes on in the worktree that it has, with the code of its first
    start; one whose set-up was broken off is made anew.
    Raises: SettingsError: git cannot make it. StorageError: what is new could not be copied.
    """
    inputs = [path for path in _local_inputs(settings) if not _is_made(path, root)]
    home = runs_root() / name
    # As many folders deep as an input climbs: `../data` is then found beside the worktree.
    climbs = max([1, *(path.parts.count("..") for path in inputs)])
    workspace = home.joinpath(*["above"] * (climbs - 1), _CHECKOUT_FOLDER)
    facts = {"workspace": str(workspace), **facts}
    if (home / RUN_FILE).is_file():
        if read_json(home / RUN_FILE).get("is_ready") and workspace.is_dir():
            return workspace
        _remove_run(home)
    remove_old_runs(keep=KEPT_RUNS - 1)
    workspace.parent.mkdir(parents=True)
    write_json(home / RUN_FILE, {**facts, "is_ready": False})
    _run(root, "git", "worktree", "prune")
    # Forced twice: a broken-off set-up leaves git's note of the place behind, and locked.
    forced = ("--force", "--force", "--detach", "--quiet")
    _run(root, "git", "worktree", "add", *forced, str(workspace), "HEAD")
    _copy_changes(root, workspace)
    for path in inputs:
        _link_input(root, workspace, path)
    (workspace / PARAMS_FILE).write_text(params_text, encoding="utf-8")
    _share_cache(root, workspace)
    write_json(home / RUN_FILE, {**facts, "is_ready": True})
    return workspace


def remove_old_runs(keep: int) -> None:
    """Delete the oldest isolated runs but `keep`; one that is running stays."""
    homes = [file.parent for file in runs_root().glob(f"*/{RUN_FILE}")]
    homes.sort(key=lambda home: (home / RUN_FILE).stat().st_mtime, reverse=True)
    for home in homes[keep:]:
        _remove_run(home)


def _remove_run(home: Path) -> None:
    """Delete an isolated run, unless it is running."""
    workspace = Path(read_json(home / RUN_FILE)["workspace"])
    try:
        with leased(workspace):
            shutil.rmtree(home)
    except LeaseError:
        return


def _copy_changes(root: Path, workspace: Path) -> None:
    """Bring over what is changed in tracked files, and files that git does not know or ignore."""
    changes = _run(root, "git", "diff", "--binary", "HEAD")
    if changes:
        _run(workspace, "git", "apply", "--whitespace=nowarn", "-", given=changes)
    untracked = _run(root, "git", "ls-files", "--others", "--exclude-standard", "-z")
    for name in untracked.decode(errors="surrogateescape").split("\0"):
        if name:
            target = workspace / name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, target, follow_symlinks=False)
            except OSError as error:
                raise StorageError(f"{target}: cannot copy {name} into the run: {error}") from error


def _local_inputs(settings: Settings) -> list[Path]:
    """Relative paths that settings name as input."""
    named = [settings.tasks.input, settings.corpus.input]
    named += [task.start for task in settings.finetuning.tasks.values()]
    if settings.pretraining.start != "scratch":
        named.append(settings.pretraining.start.checkpoint)
    paths = {Path(os.path.normpath(name)) for name in named if "://" not in name}
    return sorted(path for path in paths if not path.is_absolute())


def _is_made(path: Path, root: Path) -> bool:
    outs = [out for made in declared_outs(root).values() for out in made]
    return any(out == path or out in path.parents for out in outs)


def _link_input(root: Path, workspace: Path, path: Path) -> None:
    """Make an input that git does not carry reachable under the same relative path."""
    target = Path(os.path.normpath(workspace / path))
    if (root / path).exists() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to((root / path).resolve())


def _share_cache(root: Path, workspace: Path) -> None:
    """Point DVC at the checkout's cache and link what dvc.lock knows into place."""
    local = root / ".dvc" / "config.local"
    if local.is_file():
        shutil.copy2(local, workspace / ".dvc" / "config.local")
    cache = _run(root, "dvc", "cache", "dir").decode().strip()
    _run(workspace, "dvc", "cache", "dir", "--local", str((root / cache).resolve()))
    _run(workspace, "dvc", "config", "--local", "cache.type", "reflink,hardlink,symlink,copy")
    if (workspace / "dvc.lock").is_file():
        _run(workspace, "dvc", "checkout", "--quiet", "--force", "--allow-missing")


def _run(cwd: Path, *command: str, given: bytes | None = None) -> bytes:
    result = subprocess.run(
        command, cwd=cwd, env=child_environment(), input=given, capture_output=True, check=False
    )
    if result.returncode != 0:
        said = result.stderr.decode(errors="replace").strip()
        raise SettingsError(f"{cwd}: {' '.join(command)} failed: {said}")
    return result.stdout
