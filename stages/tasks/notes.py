"""What a report must say of a task's sizes: whether its scores may be compared with others'."""

from collections.abc import Mapping


def note_of(published: Mapping[str, int], found: Mapping[str, int]) -> str:
    """A sentence on every split whose size is not the published one; empty where all agree."""
    parts = []
    for split, expected in published.items():
        number = found.get(split)
        if number is not None and number < expected:
            parts.append(f"{split} is a subset: {number:,} of {expected:,}")
        elif number is not None and number > expected:
            parts.append(f"{split} has {number:,} examples, published are {expected:,}")
    if not parts:
        return ""
    return "; ".join([*parts, "scores are not comparable with published ones"])
