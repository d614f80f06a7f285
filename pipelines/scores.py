"""The result of a run as markdown: what each stage did, the scores, and where to look further.

In: reports/evaluation.json and the stages' outcomes. Out: the text of Prefect's artifact.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.repro import Outcome
from stages.core.artifacts import read_json

EVALUATION_FILE = Path("reports") / "evaluation.json"
REPORT_FILE = Path("reports") / "report.html"


def summary(workspace: Path, outcomes: Mapping[str, Outcome], links: Mapping[str, str]) -> str:
    """The markdown of a finished run; without an evaluation only stages and links."""
    parts = []
    if (workspace / EVALUATION_FILE).is_file():
        parts.append(score_table(read_json(workspace / EVALUATION_FILE)))
    parts.append(_stages(outcomes))
    parts.append("\n".join(f"- {name}: {_link(place)}" for name, place in links.items()))
    return "\n\n".join(parts) + "\n"


def score_table(evaluation: Mapping[str, Any]) -> str:
    """One row a task and metric: the encoder beside its random twin, mean ± deviation of seeds."""
    rows = ["| task | metric | encoder | random twin |", "|---|---|---:|---:|"]
    for name, task in evaluation["tasks"].items():
        for metric in task["encoder"]:
            encoder, twin = (_score(task.get(system), metric) for system in ("encoder", "twin"))
            rows.append(f"| {name} | {metric} | {encoder} | {twin} |")
    for family, macro in evaluation.get("macro", {}).items():
        encoder, twin = (_number(macro.get(system)) for system in ("encoder", "twin"))
        rows.append(f"| **macro, {family}** | {macro.get('rule', '')} | {encoder} | {twin} |")
    ahead = evaluation.get("ahead_of_twin")
    said = (
        "" if ahead is None else f"\n\nAhead of its random twin: {', '.join(ahead) or 'nowhere'}."
    )
    return "### Scores\n\n" + "\n".join(rows) + said


def _stages(outcomes: Mapping[str, Outcome]) -> str:
    rows = [f"| {stage} | {outcome.value} |" for stage, outcome in outcomes.items()]
    return "\n".join(["### Stages", "", "| stage | |", "|---|---|", *rows])


def _score(system: Any, metric: str) -> str:
    if not system or metric not in system:
        return "-"
    score = system[metric]
    return f"{_number(score['mean'])} ± {_number(score['sd'])}"


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"


def _link(place: str) -> str:
    return f"[{place}]({place})" if "://" in place else f"`{place}`"
