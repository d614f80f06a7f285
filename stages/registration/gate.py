"""The promotion gate's decision: whether the candidate takes the champion's place, and why.

Pure functions. The encoder and its task models are judged as one set: a macro score over the tasks
that both sides have. The rule is `registration.promote_when`; equal models keep the champion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.errors import ArtifactError
from stages.registration.comparison import (
    ROUNDING,
    Compared,
    Estimate,
    TaskComparison,
    compare_macro,
    compare_task,
    gain_probability,
)
from stages.registration.evidence import Evidence
from stages.registration.params import PromotionRule

PROMOTED, KEPT, UNCHANGED = "promoted", "kept", "unchanged"
_DIGITS = 6


@dataclass(frozen=True)
class Comparison:
    """All that both sides share."""

    tasks: Mapping[str, TaskComparison]
    counted: tuple[str, ...]
    """Tasks of the macro score, the only ones that decide."""
    macro: Compared
    probability: float
    """Share of resamples in which the macro score rose by more than is asked for."""


@dataclass(frozen=True)
class Decision:
    """What became of the candidate, and why, in words and numbers."""

    word: str
    reason: str
    comparison: Comparison | None = None
    only_candidate: tuple[str, ...] = ()
    only_champion: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def is_promotion(self) -> bool:
        """Whether the champion aliases move."""
        return self.word == PROMOTED


def first_champion() -> Decision:
    """The decision where nothing was champion before."""
    return Decision(PROMOTED, "There was no champion: the candidate becomes the first.")


def nothing_to_decide() -> Decision:
    """The decision where both sides are the same models."""
    return Decision(UNCHANGED, "The candidate is the champion: nothing to decide.")


def decide(
    candidate: Mapping[str, Evidence],
    champion: Mapping[str, Evidence],
    rule: PromotionRule,
    leaves_out: Sequence[str],
) -> Decision:
    """Compare what both sides have, and apply the rule. Both map a task to its evidence.

    Raises: ArtifactError: no task that counts is on both sides, or a task's data differ.
    """
    shared = [task for task in candidate if task in champion]
    counted = tuple(task for task in shared if task not in leaves_out)
    if not counted:
        raise ArtifactError(
            f"promotion: no task that counts in the macro score is on both sides: the candidate "
            f"has {sorted(candidate)}, the champion {sorted(champion)}; fine-tune a task of the "
            "champion's, or choose by hand: python -m pipelines promote --reason ..."
        )
    tasks = {task: compare_task(candidate[task], champion[task]) for task in shared}
    macro = compare_macro([tasks[task] for task in counted])
    probability = gain_probability(macro, rule.min_macro_gain)
    comparison = Comparison(tasks, counted, macro, probability)
    faults = _faults(comparison, rule)
    return Decision(
        KEPT if faults else PROMOTED,
        _reason(comparison, rule, faults),
        comparison,
        only_candidate=tuple(task for task in candidate if task not in champion),
        only_champion=tuple(task for task in champion if task not in candidate),
        left_out=tuple(task for task in shared if task in leaves_out),
    )


def _faults(comparison: Comparison, rule: PromotionRule) -> list[str]:
    """What the rule asks for and the candidate lacks."""
    faults = []
    if comparison.probability < rule.min_probability:
        faults.append(
            f"that it is higher{_by_more(rule)} has the probability "
            f"{comparison.probability:.3f}, asked for are {rule.min_probability:g}"
        )
    for task in comparison.counted:
        lost = -comparison.tasks[task].scores.difference.value
        if lost > rule.max_task_loss + ROUNDING:
            faults.append(f"{task} lost {_points(lost)}, allowed are {_points(rule.max_task_loss)}")
    return faults


def _reason(comparison: Comparison, rule: PromotionRule, faults: Sequence[str]) -> str:
    change, number = comparison.macro.difference, len(comparison.counted)
    over = f"over {number} tasks" if number > 1 else f"({comparison.counted[0]} alone)"
    measured = (
        f"The candidate's macro score {over} is {_points(abs(change.value))} "
        f"{'below' if change.value < 0 else 'above'} the champion's (95 % interval "
        f"{100 * change.low:+.2f} to {100 * change.high:+.2f})"
    )
    if faults:
        return f"{measured}; {'; '.join(faults)}."
    return (
        f"{measured}, higher{_by_more(rule)} with the probability "
        f"{comparison.probability:.3f}, and no task lost more than {_points(rule.max_task_loss)}."
    )


def _by_more(rule: PromotionRule) -> str:
    """The gain that is asked for; any will do where it is 0."""
    return f" by more than {_points(rule.min_macro_gain)}" if rule.min_macro_gain else ""


def _points(value: float) -> str:
    """A difference of scores times 100."""
    return f"{100 * value:.2f} points"


def rule_in_words(rule: PromotionRule, leaves_out: Sequence[str]) -> str:
    """The rule, for people."""
    share = f"{100 * rule.min_probability:g} %"
    skipped = f" Left out of the mean, and of the decision: {', '.join(leaves_out)}."
    return (
        "The candidate is promoted if its macro score, the mean over the tasks that both have, is "
        f"higher than the champion's{_by_more(rule)} in at least {share} of the resamples of a "
        "paired bootstrap over the development examples, and no task is worse by more than "
        f"{_points(rule.max_task_loss)}. A task's score is the mean of its metrics, over its "
        f"development sets and seeds.{skipped if leaves_out else ''}"
    )


def described(decision: Decision) -> dict[str, Any]:
    """The decision as it is written: scores rounded, in -1..1."""
    entry: dict[str, Any] = {
        "decision": decision.word,
        "reason": decision.reason,
        "only_candidate": list(decision.only_candidate),
        "only_champion": list(decision.only_champion),
        "left_out": list(decision.left_out),
        "tasks": {},
        "macro": None,
    }
    if decision.comparison is not None:
        comparison = decision.comparison
        entry["tasks"] = {
            name: _task_entry(task, is_counted=name in comparison.counted)
            for name, task in comparison.tasks.items()
        }
        entry["macro"] = {
            "tasks": list(comparison.counted),
            "probability": round(comparison.probability, _DIGITS),
            **_compared_entry(comparison.macro),
        }
    return entry


def _task_entry(task: TaskComparison, *, is_counted: bool) -> dict[str, Any]:
    entry: dict[str, Any] = _compared_entry(task.scores)
    entry |= {"examples": task.num_examples, "is_counted": is_counted, "mcnemar": None}
    if task.test is not None:
        entry["mcnemar"] = {
            "only_candidate_right": task.test.only_first,
            "only_champion_right": task.test.only_second,
            "p_value": round(task.test.p_value, _DIGITS),
        }
    return entry


def _compared_entry(compared: Compared) -> dict[str, Any]:
    return {
        name: _estimate_entry(getattr(compared, name))
        for name in ("candidate", "champion", "difference")
    }


def _estimate_entry(estimate: Estimate) -> dict[str, Any]:
    low, high = (round(end, _DIGITS) + 0.0 for end in (estimate.low, estimate.high))
    return {"score": round(estimate.value, _DIGITS) + 0.0, "interval": [low, high]}
