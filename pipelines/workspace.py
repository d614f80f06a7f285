"""Where a run works: the checkout under a lease, or a git worktree of its own.

A run with the checkout's settings works in the checkout. A run with other settings gets a worktree
under `<state>/runs/<id>/`: the checkout's commit plus what is changed and new in it, or another
revision as it is; params.yaml with the run's parameters; DVC's cache shared (outs are links into
it: set-up takes seconds, and what did not change is not run again). It is kept for look-up, and
its state is left on a branch that outlives it; the checkout and its index are never touched.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipelines.combinations import declared_outs
from pipelines.revisions import run_command, run_git
from stages.core.artifacts import read_json, write_json
from stages.core.errors import ArtifactError, LeaseError, StorageError
from stages.core.settings import PARAMS_FILE
from stages.core.state import state_root

KEPT_RUNS = 5
LEASE_FILE = Path(".dvc") / "tmp" / "cloze-run.lock"
RUN_FILE = "run.json"
_CHECKOUT_FOLDER = "checkout"
_ABOVE = "above"
_SET_UP_LOCK = ".set-up"
# A diff that `git apply` reads, whatever the user's git shows as a diff.
_DIFF = (
    "diff",
    "--binary",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--unified=3",
    "--submodule=short",
    "HEAD",
)


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
    folder = state_root() / "runs"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def leased_workspace(make: Callable[[], Path]) -> Iterator[tuple[Path, Lease]]:
    """Make a workspace and hold it.

    Set-ups on one machine follow one another until each is leased: a run that is not leased yet
    could otherwise be cleared away by the next one's set-up.
    """
    with ExitStack() as stack:
        with (runs_root() / _SET_UP_LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            workspace = make()
            lease = stack.enter_context(leased(workspace))
        yield workspace, lease


def isolated_workspace(
    root: Path,
    change: Callable[[Path], str],
    *,
    name: str,
    facts: Mapping[str, object],
    commit: str | None = None,
) -> Path:
    """Make the worktree of a run; `facts` are kept beside it as run.json.

    `change` makes the text of params.yaml from the settings and recipes of the worktree. Without
    `commit` the worktree is the checkout as it stands, else that commit. A run that Prefect starts
    again goes on in the worktree that it has, with the code of its first start; one whose set-up
    or removal was broken off is made anew.
    Raises: SettingsError: git cannot make it. StorageError: what is new could not be copied.
        LeaseError: processes of its first start still run there.
    """
    home = runs_root() / name
    if known := _set_up_run(home):
        return known[0]
    if home.exists():
        _remove_run(home)
    remove_old_runs(keep=KEPT_RUNS - 1)
    workspace = home / _CHECKOUT_FOLDER
    home.mkdir(parents=True)
    write_json(home / RUN_FILE, {"workspace": str(workspace), **facts, "is_ready": False})
    _add_worktree(root, workspace, commit)
    text = change(workspace)
    inputs = [path for path in _local_inputs(text) if not _is_made(path, workspace)]
    workspace = _moved_deep(workspace, inputs)
    for path in inputs:
        _link_input(root, workspace, path)
    (workspace / PARAMS_FILE).write_text(text, encoding="utf-8")
    _share_cache(root, workspace)
    write_json(home / RUN_FILE, {"workspace": str(workspace), **facts, "is_ready": True})
    return workspace


def isolated_runs() -> Iterator[tuple[Path, dict[str, Any]]]:
    """The worktree of each isolated run that was set up, and what its run.json says."""
    for file in sorted(runs_root().glob(f"*/{RUN_FILE}")):
        if known := _set_up_run(file.parent):
            yield known


def remove_old_runs(keep: int) -> None:
    """Delete the oldest isolated runs but `keep`, broken ones first; one that is running stays."""
    homes = [home for home in runs_root().iterdir() if home.is_dir()]
    homes.sort(key=_set_up_at, reverse=True)
    for home in homes[keep:]:
        with suppress(LeaseError):
            _remove_run(home)


def _remove_run(home: Path) -> None:
    """Delete an isolated run.

    Raises: LeaseError: it is running.
    """
    with leased(_workspace_in(home)):
        shutil.rmtree(home)


def _set_up_at(home: Path) -> float:
    """When a run was set up, in seconds since 1970; 0 where that was broken off."""
    return (home / RUN_FILE).stat().st_mtime if _set_up_run(home) else 0.0


def _set_up_run(home: Path) -> tuple[Path, dict[str, Any]] | None:
    """The worktree of a run and what its run.json says; None unless its set-up ended, here.

    The links of one that was moved lead elsewhere.
    """
    try:
        known = read_json(home / RUN_FILE)
    except ArtifactError:
        return None
    workspace = _workspace_in(home)
    ready = {"is_ready": True, "workspace": str(workspace)}
    is_ready = isinstance(known, dict) and ready.items() <= known.items() and workspace.is_dir()
    return (workspace, known) if is_ready else None


def _workspace_in(home: Path) -> Path:
    """The worktree in the folder of a run, which may lie deep (see `_moved_deep`)."""
    folder = home
    while not (folder / _CHECKOUT_FOLDER / ".git").is_file() and (folder / _ABOVE).is_dir():
        folder /= _ABOVE
    return folder / _CHECKOUT_FOLDER


def _add_worktree(root: Path, workspace: Path, commit: str | None) -> None:
    """The checkout as it stands, or a commit."""
    run_git(root, "worktree", "prune")
    # Forced twice: a broken-off set-up leaves git's note of the place behind, and locked.
    forced = ("--force", "--force", "--detach", "--quiet")
    run_git(root, "worktree", "add", *forced, str(workspace), commit or "HEAD")
    if commit is None:
        _copy_changes(root, workspace)


def _moved_deep(workspace: Path, inputs: list[Path]) -> Path:
    """The worktree as many folders below its home as an input climbs: `../../data` is beside it."""
    climbs = max([1, *(path.parts.count("..") for path in inputs)])
    if climbs == 1:
        return workspace
    deep = workspace.parent.joinpath(*[_ABOVE] * (climbs - 1), workspace.name)
    deep.parent.mkdir(parents=True)
    run_git(workspace, "worktree", "move", str(workspace), str(deep))
    return deep


def _copy_changes(root: Path, workspace: Path) -> None:
    """Bring over what is changed in tracked files, and files that git does not know or ignore.

    Repositories inside the checkout are brought over as files.
    """
    changes = run_git(root, *_DIFF)
    if changes:
        run_git(workspace, "apply", "--whitespace=nowarn", "-", given=changes)
    own = [folder for folder in (state_root(), runs_root()) if root in folder.parents]
    for source in _listed(root, "--others", apart=own):
        name = source.relative_to(root)
        target = workspace / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
        except OSError as error:
            raise StorageError(f"{target}: cannot copy {name} into the run: {error}") from error


def _listed(folder: Path, *kinds: str, apart: Sequence[Path]) -> Iterator[Path]:
    """Files that git lists and does not ignore, of the repositories among them too.

    `apart` are folders to pass over: the state of Cloze itself, with the worktrees of other runs.
    """
    listed = run_git(folder, "ls-files", *kinds, "--exclude-standard", "-z")
    for name in filter(None, listed.decode(errors="surrogateescape").split("\0")):
        place = folder / name
        if any(place.is_relative_to(one) for one in apart):
            continue
        if place.is_symlink() or place.is_file():
            yield place
        elif (place / ".git").exists():
            yield from _listed(place, "--cached", "--others", apart=apart)


def _local_inputs(params_text: str) -> list[Path]:
    """Relative paths that settings name as input; what is no path is left to their validation."""
    values = YAML(typ="safe", pure=True).load(params_text)
    tasks = _value(values, "finetuning", "tasks")
    named = [_value(values, "tasks", "input"), _value(values, "corpus", "input")]
    named += [_value(tasks, name, "start") for name in (tasks if isinstance(tasks, dict) else ())]
    named.append(_value(values, "pretraining", "start", "checkpoint"))
    texts = (name for name in named if isinstance(name, str) and "://" not in name)
    paths = {Path(os.path.normpath(name)) for name in texts}
    return sorted(path for path in paths if not path.is_absolute())


def _value(values: Any, *names: str) -> Any:
    for name in names:
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _is_made(path: Path, root: Path) -> bool:
    outs = [out for made in declared_outs(root).values() for out in made]
    return any(out == path or out in path.parents for out in outs)


def _link_input(root: Path, workspace: Path, path: Path) -> None:
    """Make an input that git does not carry reachable under the same relative path.

    A link on the way that leads nowhere from here is replaced; the run's branch keeps the old one.
    """
    target = Path(os.path.normpath(workspace / path))
    if not (root / path).exists() or target.exists():
        return
    for place in (*reversed(target.parents), target):
        if place.is_symlink() and not place.exists():
            tracked = run_git(workspace, "--literal-pathspecs", "ls-files", "-z", str(place))
            run_git(workspace, "update-index", "--skip-worktree", "-z", "--stdin", given=tracked)
            place.unlink()
            target = place
            break
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to((root / os.path.relpath(target, workspace)).resolve())


def _share_cache(root: Path, workspace: Path) -> None:
    """Point DVC at the checkout's cache and link what dvc.lock knows into place."""
    local = root / ".dvc" / "config.local"
    if local.is_file():
        shutil.copy2(local, workspace / ".dvc" / "config.local")
    cache = run_command(root, "dvc", "cache", "dir").decode().strip()
    run_command(workspace, "dvc", "cache", "dir", "--local", str((root / cache).resolve()))
    run_command(
        workspace, "dvc", "config", "--local", "cache.type", "reflink,hardlink,symlink,copy"
    )
    if (workspace / "dvc.lock").is_file():
        run_command(workspace, "dvc", "checkout", "--quiet", "--force", "--allow-missing")
