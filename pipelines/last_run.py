"""What the last run brought, for a terminal: scores beside the twin's, and where to look."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.scores import EVALUATION_FILE, REPORT_FILE
from stages.core.artifacts import read_json

_PLACES = {
    "report": (REPORT_FILE, "open it in a browser"),
    "scores": (Path("reports/scores.csv"), "every value, one a line"),
    "encoder": (Path("artifacts/pretraining/encoder"), "AutoModel.from_pretrained reads it"),
    "task models": (Path("artifacts/finetuning"), "<TASK>/model, and every prediction"),
}


def overview(root: Path) -> str:
    """Scores, verdicts, places and next commands.

    Raises: ArtifactError: there is no evaluation yet.
    """
    evaluation = read_json(root / EVALUATION_FILE)
    lines = ["", *_scores(evaluation), "", "Where to look:"]
    lines += [f"  {name:12} {place}  ({hint})" for name, (place, hint) in _PLACES.items()]
    lines += [
        "  tracking     make up, then open MLflow: runs, and the registered versions",
        "",
        "Next: your own corpus and tasks (README), or python -m pipelines use wikipedia-cpu",
        "",
    ]
    return "\n".join(lines)


def _scores(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """One line a task: the mean task score ± deviation over seeds, and the verdict."""
    yield f"{'task':24} {'encoder':>16} {'random twin':>16}   verdict"
    for name, task in evaluation["tasks"].items():
        encoder, twin = (_spread(task["score"][system]) for system in ("encoder", "twin"))
        yield f"{name:24} {encoder:>16} {twin:>16}   {task['verdict']}"
    yield "(mean of the task's metrics on dev, ± deviation over seeds; the report states the rule)"


def _spread(score: Mapping[str, float]) -> str:
    return f"{score['mean']:.3f} ± {score['sd']:.3f}"
