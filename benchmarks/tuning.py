"""What every paired measurement runs with, and the environment of a user, who sets none of it."""

import os

from stages.pretraining.launchers.torchrun import ALLOCATOR

TUNED = {
    **ALLOCATOR,
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}


def is_tuned() -> bool:
    """Whether this process was started with all of it: an allocator reads it at the start alone."""
    return all(os.environ.get(name) == value for name, value in TUNED.items())


def user_environment() -> dict[str, str]:
    """The environment without it, for the pipeline's own commands: a user's are not tuned."""
    return {name: value for name, value in os.environ.items() if name not in TUNED}
