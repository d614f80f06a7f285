"""Find a published or earlier checkpoint by exactly the revision that the settings pin."""

import re
from collections.abc import Sequence
from pathlib import Path

from stages.core.artifacts import content_hash
from stages.core.errors import ArtifactError, SettingsError
from stages.core.settings import Checkpoint

ENCODER = "encoder"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def pinned_folder(start: Checkpoint, *, section: str, files: Sequence[str]) -> Path:
    """The local folder that holds the files of exactly this revision.

    A local folder is checked against its content hash; of a hub id the `files` (patterns) are
    downloaded. `section` names the settings in messages.
    Raises: SettingsError: the revision is not the folder's content, or pins nothing.
    ArtifactError: there is no such folder and no such model on the hub.
    """
    folder = Path(start.checkpoint)
    if folder.is_dir():
        found = content_hash(folder)
        if found != start.revision:
            raise SettingsError(
                f"params.yaml: {section}.start.revision is {start.revision!r}, but the content of "
                f"{folder} is {found!r}; set the revision to it if this is the checkpoint you mean"
            )
        return folder
    if not _HUB_ID.fullmatch(start.checkpoint):
        raise ArtifactError(
            f"params.yaml: {section}.start.checkpoint is {start.checkpoint!r}: no such folder, and "
            "no id of the hub (owner/name)"
        )
    if not _COMMIT.fullmatch(start.revision):
        raise SettingsError(
            f"params.yaml: {section}.start.revision is {start.revision!r}, expected the 40 hex "
            "digits of a commit of the hub (a branch moves); see the model's 'Files and versions'"
        )
    return _download(start, files)


def encoder_folder(folder: Path) -> Path:
    """Where the model and its tokenizer are: in `encoder/` of what pre-training made, or here."""
    return folder / ENCODER if (folder / ENCODER).is_dir() else folder


def _download(start: Checkpoint, files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            start.checkpoint, revision=start.revision, allow_patterns=list(files)
        )
    except (OSError, ValueError) as error:  # the hub's and requests' errors are OSErrors
        raise ArtifactError(
            f"{start.checkpoint} at {start.revision}: no such folder here, and not to be had from "
            f"the hub ({error}); check id, revision and network"
        ) from error
    return Path(folder)
