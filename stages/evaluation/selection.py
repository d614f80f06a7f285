"""Settings that a protocol tried before it chose: what each scored on the development set.

In: the key `selection` of `metrics.json`, where a protocol searched a grid. Out: per system a row
for each setting and a score for each seed.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.errors import ArtifactError
from stages.evaluation.scores import AGAIN, SYSTEMS

OPTIMISM = (
    "a score chosen on the development set is optimistic on that set: of many tries the best one "
    "also had the most luck"
)


@dataclass(frozen=True)
class Trial:
    """One setting: seed -> its score in 0..1, and the seeds for which it was chosen.

    A seed whose training diverged has no score.
    """

    settings: Mapping[str, Any]
    scores: Mapping[int, float]
    chosen_seeds: tuple[int, ...]


@dataclass(frozen=True)
class Selection:
    """What was tried for one system, and the rule of the choice in words."""

    rule: str
    trials: tuple[Trial, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed that was tried."""
        return tuple(sorted({seed for trial in self.trials for seed in trial.scores}))


def parse_selection(content: Any, *, where: str) -> dict[str, Selection]:
    """Read `selection`; `where` names the file. None is an empty one: nothing was searched.

    Raises: ArtifactError: a system, a member or one of its parts is missing or of another kind.
    """
    if content is None:
        return {}
    if not isinstance(content, Mapping) or set(content) != set(SYSTEMS):
        found = sorted(content) if isinstance(content, Mapping) else type(content).__name__
        raise ArtifactError(f"{where}: selection is of {found}, expected {list(SYSTEMS)}; {AGAIN}")
    return {system: _selection(content[system], f"{where}: {system}") for system in SYSTEMS}


def _selection(content: Any, where: str) -> Selection:
    entry = content if isinstance(content, Mapping) else {}
    members = entry.get("members")
    if not isinstance(members, list) or not members or not isinstance(entry.get("rule"), str):
        raise ArtifactError(
            f"{where}: selection has no rule in words or no members, expected both; {AGAIN}"
        )
    faults = [number for number, member in enumerate(members) if not _is_member(member)]
    if faults:
        raise ArtifactError(
            f"{where}: member {faults[0]} of selection is {members[faults[0]]!r}, expected "
            f"settings, seed, dev_score and is_chosen; {AGAIN}"
        )
    return Selection(entry["rule"], _trials(members))


def _is_member(member: Any) -> bool:
    if not isinstance(member, Mapping):
        return False
    score, seed = member.get("dev_score"), member.get("seed")
    is_score = score is None or (isinstance(score, int | float) and math.isfinite(score))
    is_settings = isinstance(member.get("settings"), Mapping)
    return is_score and is_settings and isinstance(seed, int) and "is_chosen" in member


def _trials(members: Sequence[Mapping[str, Any]]) -> tuple[Trial, ...]:
    """Members of equal settings together, in the order of the first ones."""
    by_settings: dict[str, list[Mapping[str, Any]]] = {}
    for member in members:
        by_settings.setdefault(json.dumps(member["settings"], sort_keys=True), []).append(member)
    return tuple(
        Trial(
            settings=group[0]["settings"],
            scores={
                member["seed"]: float(member["dev_score"])
                for member in group
                if member["dev_score"] is not None
            },
            chosen_seeds=tuple(member["seed"] for member in group if member["is_chosen"]),
        )
        for group in by_settings.values()
    )
