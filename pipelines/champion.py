"""The champion's pre-training brought back from DVC, as the start of another one.

The registry knows its content hash (registration asks it, in a child process); the files are in
the shared DVC cache or its remote. A pointer file, champion.dvc, says so in the worktree and on the
run's branch, which keeps the files from `dvc gc`.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipelines.environment import child_environment
from pipelines.repro import DVC, StageError
from stages.core.errors import ArtifactError
from stages.core.tracking import lineage

POINTER = Path("champion.dvc")
FOLDER = Path("artifacts") / "champion"
CORPUS = "artifacts/corpus"


@dataclass(frozen=True)
class Champion:
    """A version of the encoder, and the hashes of what it was made from."""

    name: str
    version: str
    pretraining: str
    """Content hash of the whole output of pre-training: encoder, generator, heads."""
    corpus: str
    """Content hash of the corpus that it was trained on."""

    @property
    def start(self) -> dict[str, Any]:
        """The overrides with which tokenizer and pre-training begin from it."""
        start = {"checkpoint": FOLDER.as_posix(), "revision": self.pretraining}
        return {"tokenizer": {"start": start}, "pretraining": {"start": start}}

    def has_seen(self, workspace: Path) -> bool:
        """Whether the corpus of the workspace is the one that it was trained on."""
        return lineage.locked_outputs(workspace / lineage.LOCK_FILE).get(CORPUS) == self.corpus


def find_champion(root: Path) -> Champion:
    """Ask the registry.

    Raises: StageError: there is no champion, or it does not say what it was made from.
    """
    command = [sys.executable, "-m", "stages.registration", "champion"]
    result = subprocess.run(
        command, cwd=root, env=child_environment(), capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise StageError(f"refresh: {result.stderr.strip()}", result.returncode)
    return Champion(**json.loads(result.stdout.splitlines()[-1]))


def restore(champion: Champion, workspace: Path) -> None:
    """Bring its pre-training into the workspace, from the cache or the remote.

    Raises: ArtifactError: neither has it.
    """
    out = {"md5": champion.pretraining, "hash": "md5", "path": FOLDER.as_posix()}
    with (workspace / POINTER).open("w", encoding="utf-8") as stream:
        YAML().dump({"outs": [out]}, stream)
    said = ""
    for command in ("checkout", "pull"):  # without a remote `pull` fails over what is in the cache
        result = subprocess.run(
            [*DVC, command, str(POINTER)],
            cwd=workspace,
            env=child_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode == 0:
            return
        said = result.stderr.strip()[-500:]
    raise ArtifactError(
        f"{workspace / FOLDER}: the champion {champion.name} {champion.version} cannot be brought "
        f"back: neither DVC's cache nor its remote has {champion.pretraining} ({said}); run "
        "`dvc push` where it was trained, or make another version the champion"
    )
