"""What must stand beside a task's scores, so that nobody compares what cannot be compared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def caveats(
    facts: Mapping[str, Any],
    finetuned: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    pretraining: Path,
    is_left_out: bool,
    is_searched: bool = False,
) -> list[str]:
    """Notes on one task, from its entry in the tasks manifest, its fine-tuning and its settings.

    `finetuned` is the manifest of the fine-tuning. `pretraining` is this pipeline's encoder: a
    task that starts elsewhere says where. `is_searched`: a protocol tried several settings.
    """
    notes = [facts["note"]] if facts.get("note") else []
    splits = facts.get("splits", {})
    num_train = splits.get("train", {}).get("examples")
    num_used = finetuned.get("train_examples", num_train)
    if num_train is not None:
        of_all = f" of {num_train:,}" if num_used < num_train else ""
        notes.append(f"trained on {num_used:,}{of_all}")
    num_dev = splits.get("dev", {}).get("examples")
    if num_dev is not None:
        num_cut = finetuned.get("truncated", {}).get("dev", 0)
        cut = f" ({num_cut:,} cut to {settings.get('max_seq_length')} tokens)" if num_cut else ""
        notes.append(f"{num_dev:,} dev examples{cut}")
    start = settings.get("start")
    if not (isinstance(start, str) and Path(start).is_relative_to(pretraining)):
        notes.append(f"starts from {start}, not from this pre-training's encoder")
    if finetuned.get("mode") == "frozen":
        notes.append("the encoder is frozen: only the output layer learnt")
    if is_searched:
        notes.append("settings were chosen on the development set: scores are optimistic on it")
    if is_left_out:
        notes.append("left out of the mean")
    return notes
