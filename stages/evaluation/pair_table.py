"""Pairs of members as a table and as sentences: no difference without its interval."""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.evaluation.facts import NOTHING, signed_points

_SMALLEST_P_VALUE = 0.001


def pair_table(pairs: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """A header and a row a pair: macro differences with intervals, then McNemar's p values."""
    if not pairs:
        return [], []
    families, tasks = list(pairs[0]["macro"]), list(pairs[0]["mcnemar"])
    header = ["first \u2212 second"]
    for family in families:
        header += [f"macro {family}", "95 % interval", "beyond it"]
    header += [f"p, {task}" for task in tasks]
    return header, [_row(pair, families, tasks) for pair in pairs]


def _row(pair: Mapping[str, Any], families: Sequence[str], tasks: Sequence[str]) -> list[str]:
    row = [f"{pair['first']} \u2212 {pair['second']}"]
    for family in families:
        macro = pair["macro"][family]
        beyond = "yes" if macro["is_beyond"] else "no"
        row += [signed_points(macro["difference"]), _ends(macro["interval"]), beyond]
    return row + [_p_values(pair["mcnemar"][task]) for task in tasks]


def _ends(interval: Sequence[float]) -> str:
    low, high = (signed_points(end) for end in interval)
    return f"{low} to {high}"


def _p_values(tests: Mapping[str, Mapping[str, Any]]) -> str:
    """One a split."""
    return ", ".join(_p_value(test["p_value"]) for test in tests.values()) or NOTHING


def _p_value(value: float) -> str:
    return f"{value:.3f}" if value >= _SMALLEST_P_VALUE else "< 0.001"


def pair_sentences(compared: Mapping[str, Any]) -> list[str]:
    """Which differences are beyond their interval, what that means, and what could not be said."""
    pairs, missing = compared["pairs"], compared["without_predictions"]
    sentences = []
    for family in pairs[0]["macro"] if pairs else ():
        clear = [_leads(pair, family) for pair in pairs if pair["macro"][family]["is_beyond"]]
        said = "; ".join(clear) or "none"
        sentences.append(f"Macro {family}, differences beyond their 95 % interval: {said}.")
    if pairs:
        sentences.append(
            "The interval is a paired bootstrap over the development examples, of the mean over "
            "the fine-tuning seeds; a difference is beyond it where it holds no 0. How much "
            "another pre-training seed would change is not in it. p: McNemar's exact test of the "
            "median seeds, for tasks scored by accuracy. Of many comparisons about one in twenty "
            "looks clear by chance."
        )
    if missing:
        sentences.append(
            f"Kept without their predictions, and so in no pair: {', '.join(missing)}; running "
            "pipelines compare again keeps them."
        )
    elif not pairs:
        sentences.append("One member alone makes no pair.")
    return sentences


def _leads(pair: Mapping[str, Any], family: str) -> str:
    macro = pair["macro"][family]
    names = [pair["first"], pair["second"]]
    better, worse = names if macro["difference"] > 0 else reversed(names)
    low, high = sorted(abs(end) for end in macro["interval"])
    ahead = abs(macro["difference"])
    return (
        f"{better} over {worse} by {signed_points(ahead)} ({signed_points(low)} to "
        f"{signed_points(high)})"
    )
