"""What a model card says of scores: with intervals, beside the random twin, and their limits."""

from collections.abc import Iterator, Mapping
from typing import Any

from stages.registration.candidates import Candidate
from stages.registration.card_facts import (
    UNKNOWN,
    CardFacts,
    counted,
    points,
    range_of,
    with_deviation,
)

COLUMNS = (
    "task",
    "metric",
    "score ± sd",
    "95 % interval",
    "random twin ± sd",
    "difference, 95 % interval",
    "beside its twin",
)
_FEW_SEEDS = 5
_FEW_EXAMPLES = 1000


def tasks_of(candidate: Candidate, facts: CardFacts) -> dict[str, Mapping[str, Any]]:
    """The evaluated tasks that the model's card shows."""
    tasks = facts.evaluation.get("tasks", {})
    return {name: tasks[name] for name in tasks if candidate.task in (None, name)}


def score_lines(candidate: Candidate, facts: CardFacts) -> Iterator[str]:
    """How the scores below are to be read, and of the encoder the macro scores."""
    tasks = tasks_of(candidate, facts)
    if not tasks:
        yield f"Scores: {UNKNOWN}."
        return
    yield (
        "Times 100, on the development sets. The random twin is the same architecture, fine-tuned "
        "in the same way with the same seeds, but never pre-trained; ± is the standard deviation "
        "over the seeds; intervals are a paired bootstrap's over the examples."
    )
    if rule := facts.evaluation.get("verdict_rule"):
        yield str(rule)
    if candidate.task is None:
        for macro in facts.evaluation.get("macro", {}).values():
            yield (
                f"Macro score {points(macro.get('encoder'))}, of the twin "
                f"{points(macro.get('twin'))}, difference {points(macro.get('difference'))} "
                f"({range_of(macro.get('interval'))}). {macro.get('rule', '')}".strip()
            )


def score_rows(candidate: Candidate, facts: CardFacts) -> Iterator[tuple[str, ...]]:
    """A row a metric; of the encoder one a task."""
    for name, entry in tasks_of(candidate, facts).items():
        intervals, verdict = entry.get("intervals", {}), entry.get("verdict", UNKNOWN)
        shown = {metric: metric for metric in entry.get("encoder", {})}
        if candidate.task is None and len(shown) > 1:
            shown = {"score": f"mean of {', '.join(shown)}"}
        measures = [
            {**entry.get(system, {}), "score": entry.get("score", {}).get(system, {})}
            for system in ("encoder", "twin")
        ]
        for metric, told in shown.items():
            encoder, twin = (measured.get(metric, {}) for measured in measures)
            ends = intervals.get(metric, {})
            yield (
                name,
                told.replace("_", " "),
                with_deviation(encoder),
                range_of(ends.get("encoder")),
                with_deviation(twin),
                range_of(ends.get("difference")),
                verdict,
            )


def limit_lines(candidate: Candidate, facts: CardFacts) -> Iterator[str]:
    """What the scores do not cover: small sets, few seeds, one pre-training, one language."""
    known = facts.of("tasks").get("tasks", {})
    for name, entry in tasks_of(candidate, facts).items():
        splits = known.get(name, {}).get("splits", {})
        trained = facts.finetuned.get(name, {}).get("train_examples")
        dev = splits.get("dev", {}).get("examples")
        notes = [
            f"trained on {counted(trained)} examples",
            f"judged on {counted(dev)}{', few' if dev and dev < _FEW_EXAMPLES else ''}",
            *([entry["note"]] if entry.get("note") else []),
        ]
        yield f"{name}: {'; '.join(notes)}."
    seeds = {len(manifest.get("seeds", ())) for manifest in facts.finetuned.values()} - {0}
    if seeds and max(seeds) < _FEW_SEEDS:
        yield f"Scores rest on {max(seeds)} fine-tuning seed(s): their deviation is itself rough."
    yield "The encoder was pre-trained once: how far chance moves pre-training is not measured."
    language = facts.of("corpus").get("language", UNKNOWN)
    yield (
        f"Made for texts of the corpus's language ({language}) and kind; what biases it took from "
        "them was not examined."
    )
