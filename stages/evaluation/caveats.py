"""What must stand beside a task's scores, so that nobody compares what cannot be compared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def caveats(
    facts: Mapping[str, Any], settings: Mapping[str, Any], *, pretraining: Path, is_left_out: bool
) -> list[str]:
    """Notes on one task, from its entry in the tasks manifest and its fine-tuning settings.

    `pretraining` is this pipeline's encoder: a task that starts elsewhere says where.
    """
    notes = [facts["note"]] if facts.get("note") else []
    splits = facts.get("splits", {})
    num_train = splits.get("train", {}).get("examples")
    most = settings.get("max_train_examples")
    if num_train is not None:
        is_cut = most is not None and most < num_train
        notes.append(
            f"trained on {most:,} of {num_train:,}" if is_cut else f"trained on {num_train:,}"
        )
    num_dev = splits.get("dev", {}).get("examples")
    if num_dev is not None:
        notes.append(f"{num_dev:,} dev examples")
    start = settings.get("start")
    if not (isinstance(start, str) and Path(start).is_relative_to(pretraining)):
        notes.append(f"starts from {start}, not from this pre-training's encoder")
    if is_left_out:
        notes.append("left out of the mean")
    return notes
