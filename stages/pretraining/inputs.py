"""Whether the inputs are what their stages wrote: every file is hashed once, before training.

What was found is kept beside the checkpoints with each file's size and time, so that resuming does
not read the data again: only a file that has changed since is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.artifacts import read_json, read_manifest, require_content, write_json
from stages.pretraining.params import INPUTS

_RECORD = "verified.json"


def require_undamaged(paths: Mapping[str, Path], checkpoints: Path) -> None:
    """Check the content of every input against its manifest, at the speed of md5 (0.6 GB/s).

    Raises: ArtifactError: naming the file that changed, is missing or cannot be read.
    """
    record = checkpoints / _RECORD
    known = read_json(record) if record.is_file() else {}
    found = {stage: _stamp(paths[stage], stage) for stage in INPUTS}
    for stage, stamp in found.items():
        if known.get(stage) != stamp:
            require_content(paths[stage], stage)
    write_json(record, found)


def _stamp(folder: Path, stage: str) -> dict[str, Any]:
    """What changes when a file does: the manifest's hash, and each file's size and time."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = {path.relative_to(folder).as_posix(): path.stat() for path in files}
    return {
        "content": read_manifest(folder, stage)["content"],
        "files": {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()},
    }
