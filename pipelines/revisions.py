"""Git around a run: the commit that it begins from, and the branch that its state is left on."""

import os
import re
import subprocess
from pathlib import Path

from pipelines.environment import child_environment
from stages.core.errors import SettingsError

BRANCH_PREFIX = "cloze/"
# What makes the results of a run, and may be new in it; other new files may be private.
_KEPT_FILES = ("dvc.yaml", "dvc.lock", "params.yaml", "champion.dvc")
_KEPT_FOLDERS = ("stages", "pipelines", "recipes")
_NEW_FILES = ("ls-files", "--others", "--exclude-standard", "-z")
# A little more than `git check-ref-format` refuses; a dot stands within a word.
_NOT_IN_A_REF = re.compile(r"[^\w.-]|(?<!\w)\.|\.(?!\w)|\.(?=lock$)")
_AUTHOR = ("-c", "user.name=Cloze", "-c", "user.email=cloze@localhost")


def commit_of(root: Path, revision: str) -> str:
    """The full hash of a branch, tag or commit.

    Raises: SettingsError: git does not know it.
    """
    try:
        found = run_git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except SettingsError as error:
        raise SettingsError(
            f"revision {revision!r}: not found in {root}; expected a branch, tag or commit that "
            "is there (git fetch brings new ones)"
        ) from error
    return found.decode().strip()


def leave_branch(workspace: Path, name: str, message: str) -> str:
    """Commit what the results of a worktree were made from, on a branch; returns the branch.

    That is what is changed in tracked files, new code and recipes, params.yaml and dvc.lock, but
    for what git ignores. The worktree stays on no branch, so that the new one can be checked out
    anywhere. What git allows in no branch's name becomes `-`.
    Raises: SettingsError: git cannot make the commit or the branch.
    """
    run_git(workspace, "add", "--update")
    new = run_git(workspace, *_NEW_FILES, "--", *_KEPT_FILES, *_KEPT_FOLDERS)
    run_git(workspace, "update-index", "--add", "-z", "--stdin", given=new)
    commit = ("commit", "--quiet", "--allow-empty", "--no-verify", "--no-gpg-sign", "-m", message)
    run_git(workspace, *_AUTHOR, *commit)
    branch = BRANCH_PREFIX + _NOT_IN_A_REF.sub("-", name)
    run_git(workspace, "branch", "--force", branch, "HEAD")
    return branch


def run_git(cwd: Path, *arguments: str, given: bytes | None = None) -> bytes:
    """Run git in a folder, without the user's hooks: they are not made for a run's worktree.

    Raises: SettingsError: it failed.
    """
    return run_command(cwd, "git", "-c", f"core.hooksPath={os.devnull}", *arguments, given=given)


def run_command(cwd: Path, *command: str, given: bytes | None = None) -> bytes:
    """Run git or dvc in a folder; returns what it wrote.

    Raises: SettingsError: it failed; its own words are in the message.
    """
    try:
        result = subprocess.run(
            command,
            cwd=cwd,
            env=child_environment(GIT_OPTIONAL_LOCKS="0"),  # looking at a checkout writes no index
            input=given,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise SettingsError(f"{cwd}: cannot run {command[0]} ({error}); is it on PATH?") from error
    if result.returncode != 0:
        said = result.stderr.decode(errors="replace").strip()
        raise SettingsError(f"{cwd}: {' '.join(command)} failed: {said}")
    return result.stdout
