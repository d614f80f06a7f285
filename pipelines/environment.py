"""The environment of child processes: this interpreter first on PATH, no telemetry, one state root.

`dvc` runs `python` from PATH, so the folder of the running interpreter must come first there.
"""

import os
import sys
from pathlib import Path

from stages.core.state import state_root
from stages.core.tracking.lineage import git_environment

TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def child_environment(**extra: str) -> dict[str, str]:
    """The environment of this process as children need it, with `extra` on top.

    Variables that git sets for its hooks would lead the git of dvc and stages elsewhere.
    """
    environment = git_environment(os.environ)
    interpreter_folder = str(Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join([interpreter_folder, environment.get("PATH", "")])
    environment["PYTHONUNBUFFERED"] = "1"  # a stage's lines arrive when they are written
    environment["CLOZE_STATE"] = str(state_root())
    return {**environment, **TELEMETRY_OFF, **extra}
