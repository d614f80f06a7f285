"""Where changing state lives: checkpoints, finished shards and fine-tunings, journal, MLflow store.

One root for every git worktree of a checkout: the environment variable CLOZE_STATE, else
`.cloze/` beside git's common directory, so that a run in a worktree shares checkpoints. DVC's cache
is where .dvc/config says.
"""

import os
from pathlib import Path

from stages.core.errors import StorageError


def state_root(start: Path | None = None) -> Path:
    """The state root, absolute; it is created when missing.

    Raises: StorageError: it cannot be.
    """
    named = os.environ.get("CLOZE_STATE")
    root = Path(named).expanduser().resolve() if named else main_checkout(start) / ".cloze"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{root}: the state root cannot be made: {error.strerror}; set CLOZE_STATE to a folder "
            "that may be written to"
        ) from error
    return root


def main_checkout(start: Path | None = None) -> Path:
    """The folder that holds git's common directory; the start folder itself outside git."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        marker = folder / ".git"
        if marker.is_dir():
            return folder
        if marker.is_file():  # a worktree: ".git" is a file "gitdir: <common>/worktrees/<name>"
            git_dir = Path(marker.read_text(encoding="utf-8").removeprefix("gitdir:").strip())
            git_dir = git_dir if git_dir.is_absolute() else folder / git_dir
            common = git_dir / "commondir"
            if common.is_file():
                git_dir = git_dir / common.read_text(encoding="utf-8").strip()
            return git_dir.resolve().parent
    return here


def checkpoints_root() -> Path:
    """Step checkpoints, one folder a fingerprint."""
    return state_root() / "checkpoints"


def shards_root() -> Path:
    """Finished shards of stages that have not ended, one folder a fingerprint."""
    return state_root() / "shards"


def journal_root() -> Path:
    """The tracking journal: one JSON-lines file a run."""
    return state_root() / "journal"
