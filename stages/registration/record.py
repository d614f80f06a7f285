"""The record of a decision on the champions: for files, for tags on the versions, for people.

Pure functions. A record is what `python -m stages.registration` prints as JSON: the decision, the
reason, the numbers behind it, and the champions before and after.
"""

from collections.abc import Mapping
from typing import Any

from stages.registration.gate import UNCHANGED
from stages.registration.registry import Versions


def make_record(
    kind: str, facts: Mapping[str, Any], encoder: str, before: Versions, now: Versions
) -> dict[str, Any]:
    """A record of `facts` (decision and reason among them); its run is not known yet."""
    return {
        **facts,
        "kind": kind,
        "headline": headline(encoder, facts["decision"], before, now),
        "encoder": encoder,
        "champion_before": dict(before),
        "champion": dict(now),
        "run_id": None,
    }


def headline(encoder: str, decision: str, before: Versions, now: Versions) -> str:
    """Who is the champion now, in one sentence."""
    new, old = now.get(encoder), before.get(encoder)
    shown = f"{encoder} version {new}" if new else "the set of champions"
    if decision == UNCHANGED:
        return f"{shown} stays the champion: it is the candidate."
    if before == now:
        return f"{shown} stays the champion."
    if not before:
        return f"{shown} is the first champion."
    place = f"in place of version {old}" if old != new else "with other task models"
    gone = [name for name in before if name not in now]
    lost = f"; without a champion now: {', '.join(gone)}" if gone else ""
    return f"{shown} is the champion now, {place}{lost}."


def version_tags(record: Mapping[str, Any], name: str, task: str | None) -> dict[str, str]:
    """What a version of the judged set is told: decision, reason, and its own task's numbers.

    The encoder (no task) is told those of the macro score.
    """
    tags = {
        "decision": record["decision"],
        "by": record["kind"],
        "reason": record["reason"],
        "run": record["run_id"] or "",
        "champion_before": record["champion_before"].get(name, "none"),
    }
    entry = record.get("tasks", {}).get(task) if task else record.get("macro")
    return tags | _numbers(entry) if entry else tags


def _numbers(entry: Mapping[str, Any]) -> dict[str, str]:
    low, high = entry["difference"]["interval"]
    tags = {
        "score": f"{entry['candidate']['score']:.6g}",
        "champion_score": f"{entry['champion']['score']:.6g}",
        "difference": f"{entry['difference']['score']:+.6g}",
        "difference_interval": f"{low:+.6g} to {high:+.6g}",
    }
    if "probability" in entry:
        tags["probability"] = f"{entry['probability']:.6g}"
    if entry.get("mcnemar"):
        tags["mcnemar_p"] = f"{entry['mcnemar']['p_value']:.6g}"
    return tags
