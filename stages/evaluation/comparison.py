"""Several systems side by side: what each cost, what it scored, with what spread.

In: a folder with one member a system and pre-training seed, each holding evaluation.json,
pretraining.json (the manifest), curve.json, member.json (objective, seed, learning_rate, minutes),
and predictions/<TASK>.parquet, which members of before lack. Out: the numbers of the comparison as
one mapping. Scores are pooled over pre-training and fine-tuning seeds; with one pre-training seed
their spread is that of fine-tuning alone, and the headline says so.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.artifacts import read_json
from stages.core.errors import ArtifactError
from stages.evaluation.summary import Spread, rounded, spread

MEMBER_FILES = ("evaluation.json", "pretraining.json", "curve.json", "member.json")
_COSTS = ("steps", "tokens", "flops")


@dataclass(frozen=True)
class Member:
    """One pre-training with its fine-tuned scores."""

    folder: Path
    objective: str
    seed: int
    facts: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    pretraining: Mapping[str, Any]
    curve: Sequence[Mapping[str, float]]

    @property
    def name(self) -> str:
        """What a reader calls it: objective and pre-training seed."""
        return f"{self.objective}-{self.seed}"


def read_members(folder: Path) -> list[Member]:
    """Every member of a comparison, in the order of objectives and seeds that they were given.

    Raises: ArtifactError: there is none, or two of them were evaluated on different tasks.
    """
    members = []
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        evaluation, pretraining, curve, facts = (read_json(path / name) for name in MEMBER_FILES)
        members.append(
            Member(path, facts["objective"], facts["seed"], facts, evaluation, pretraining, curve)
        )
    if not members:
        raise ArtifactError(f"{folder}: holds no member of a comparison; run pipelines compare")
    for member in members[1:]:
        for what, mine, first in (
            ("tasks", list(member.evaluation["tasks"]), list(members[0].evaluation["tasks"])),
            ("task data", _task_data(member), _task_data(members[0])),
        ):
            if mine != first:
                raise ArtifactError(
                    f"{folder}: {member.objective} and {members[0].objective} were evaluated on "
                    f"different {what} ({mine} and {first}); compare systems on the same"
                )
    return sorted(members, key=lambda member: (member.facts["order"], member.seed))


def _task_data(member: Member) -> Any:
    return member.evaluation["lineage"].get("tasks")


def compare(members: Sequence[Member]) -> dict[str, Any]:
    """The content of comparison.json."""
    objectives = list(dict.fromkeys(member.objective for member in members))
    seeds = {name: [m.seed for m in members if m.objective == name] for name in objectives}
    systems = {
        name: _system([m for m in members if m.objective == name], members[0].evaluation)
        for name in objectives
    }
    return {
        "headline": headline(systems, seeds),
        "systems": systems,
        "pretraining_seeds": seeds,
        "macro_rules": {
            family: macro["rule"] for family, macro in members[0].evaluation["macro"].items()
        },
        "verdict_rule": members[0].evaluation["verdict_rule"],
    }


def _system(members: Sequence[Member], first: Mapping[str, Any]) -> dict[str, Any]:
    """One objective's costs, measures and scores; a cost is the mean over its members."""
    costs: dict[str, float | None] = {
        name: _mean([m.pretraining[name] for m in members]) for name in _COSTS
    }
    minutes = [m.facts["minutes"] for m in members if m.facts.get("minutes") is not None]
    costs["minutes"] = _mean(minutes) if minutes else None
    measures = {
        name: _entry(spread([m.pretraining["comparison"][name] for m in members]))
        for name in members[0].pretraining["comparison"]
    }
    tasks = {
        task: {system: _entry(_pooled(members, task, system)) for system in ("encoder", "twin")}
        for task in first["tasks"]
    }
    macros = {
        family: {
            system: _entry(_pooled_macro(members, macro["tasks"], system))
            for system in ("encoder", "twin")
        }
        for family, macro in first["macro"].items()
    }
    return {
        "learning_rate": members[0].facts["learning_rate"],
        "parameters": members[0].pretraining["parameters"],
        "trained_parameters": members[0].pretraining["trained_parameters"],
        "costs": costs,
        "measures": measures,
        "tasks": tasks,
        "macro": macros,
    }


def _seed_scores(member: Member, task: str, system: str) -> list[float]:
    scores: list[float] = member.evaluation["tasks"][task]["score"][system]["seeds"]
    return scores


def _pooled(members: Sequence[Member], task: str, system: str) -> Spread:
    """All seeds of a task's score, pre-training and fine-tuning alike."""
    return spread([value for m in members for value in _seed_scores(m, task, system)])


def _pooled_macro(members: Sequence[Member], tasks: Sequence[str], system: str) -> Spread:
    """The macro score of every seed: that seed's task scores averaged."""
    values = []
    for member in members:
        columns = [_seed_scores(member, task, system) for task in tasks]
        values += [math.fsum(column) / len(column) for column in zip(*columns, strict=True)]
    return spread(values)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _entry(values: Spread) -> dict[str, Any]:
    return {
        "mean": rounded(values.mean),
        "sd": rounded(values.sd),
        "seeds": [rounded(value) for value in values.seeds],
    }


def headline(systems: Mapping[str, Mapping[str, Any]], seeds: Mapping[str, Sequence[int]]) -> str:
    """Which system scored highest on average, by how much, and what the spread does not cover."""
    family = next(iter(next(iter(systems.values()))["macro"]))
    ranked = sorted(systems, key=lambda name: -systems[name]["macro"][family]["encoder"]["mean"])
    shown = ", ".join(
        f"{name} {_points(systems[name]['macro'][family]['encoder'])}" for name in ranked
    )
    text = f"Macro score, highest first: {shown}."
    if len(ranked) > 1:
        best, second = (systems[name]["macro"][family]["encoder"] for name in ranked[:2])
        gap = best["mean"] - second["mean"]
        if best["sd"] is not None and second["sd"] is not None:
            pooled = math.sqrt((best["sd"] ** 2 + second["sd"] ** 2) / 2)
            clear = "beyond" if gap > 2 * pooled else "within"
            text += (
                f" The first two differ by {100 * gap:.1f} points, {clear} twice their pooled "
                f"standard deviation ({100 * pooled:.1f})."
            )
    if max(map(len, seeds.values())) == 1:
        text += (
            " Each system was pre-trained once: the spread is that of fine-tuning seeds, and how "
            "much pre-training varies is not covered."
        )
    return text


def _points(entry: Mapping[str, Any]) -> str:
    sd = "" if entry["sd"] is None else f" \u00b1 {100 * entry['sd']:.1f}"
    return f"{100 * entry['mean']:.1f}{sd}"


def table(compared: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The comparison as a header and rows of text: costs, measures, then scores times 100."""
    systems = compared["systems"]
    names = list(systems)
    rows = [
        ["learning rate", *(f"{systems[n]['learning_rate']:g}" for n in names)],
        ["parameters of the encoder", *(f"{systems[n]['parameters']:,}" for n in names)],
        ["parameters trained", *(f"{systems[n]['trained_parameters']:,}" for n in names)],
        ["FLOPs", *(f"{systems[n]['costs']['flops']:.3g}" for n in names)],
        ["tokens", *(f"{systems[n]['costs']['tokens']:,.0f}" for n in names)],
        ["updates", *(f"{systems[n]['costs']['steps']:,.0f}" for n in names)],
        ["minutes of training", *(_minutes(systems[n]["costs"]["minutes"]) for n in names)],
        [
            "pseudo-perplexity per word",
            *(
                f"{systems[n]['measures']['pseudo_perplexity_per_word']['mean']:,.0f}"
                for n in names
            ),
        ],
        [
            "masked-LM perplexity",
            *(f"{systems[n]['measures']['mlm_perplexity']['mean']:,.0f}" for n in names),
        ],
    ]
    first = systems[names[0]]
    for family in first["macro"]:
        for system in ("encoder", "twin"):
            label = f"macro {family}" + ("" if system == "encoder" else ", random twin")
            rows.append([label, *(_points(systems[n]["macro"][family][system]) for n in names)])
    rows += [
        [task, *(_points(systems[n]["tasks"][task]["encoder"]) for n in names)]
        for task in first["tasks"]
    ]
    return ["", *names], rows


def _minutes(value: float | None) -> str:
    return "not known" if value is None else f"{value:.1f}"
