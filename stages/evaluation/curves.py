"""Learning curves of pre-training as charts: one for each quantity that the curve holds.

The objective decides what is measured, so the names are read from the points: `train_X`,
`validation_X` and `comparison_X` share the chart of `X`; the total loss comes first, then each
term's loss and measures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.errors import ArtifactError
from stages.evaluation.charts import Series, line_chart
from stages.evaluation.facts import label

# The later is drawn on top. The comparison is the same text and masks for every objective.
_SPLITS = {"train": "training", "comparison": "comparison", "validation": "validation"}
_TERMS = {
    "mlm": "Masked language model",
    "nsp": "Next sentence",
    "sbo": "Span boundary",
    "rtd": "Replaced token detection",
    "replaced": "Tokens replaced",
}
_SHARES = ("accuracy", "precision", "recall", "f1", "fraction")


@dataclass(frozen=True)
class Curve:
    """One chart and its heading."""

    heading: str
    svg: str


def learning_curves(points: Any, where: str) -> list[Curve]:
    """The charts of a curve; none where nothing was trained.

    Raises: ArtifactError: it is no list of points with a step.
    """
    if not isinstance(points, list) or any(
        not isinstance(point, Mapping) or not _is_number(point.get("step")) for point in points
    ):
        raise ArtifactError(
            f"{where}: expected a list of points with a step; run pretraining again (dvc repro)"
        )
    return [_curve(name, points) for name in _quantities(points)]


def _quantities(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names behind the splits' prefixes: the total loss, then each term's loss and measures."""
    names = {
        key.removeprefix(f"{split}_")
        for point in points
        for key, value in point.items()
        for split in _SPLITS
        if key.startswith(f"{split}_") and _is_number(value)
    }
    return sorted(names, key=_order)


def _order(name: str) -> tuple[bool, str, bool]:
    term, _, kind = name.rpartition("_")
    return (bool(term), term, kind != "loss")


def _curve(name: str, points: Sequence[Mapping[str, Any]]) -> Curve:
    term, _, kind = name.rpartition("_")
    heading = f"{_TERMS.get(term, label(term))}: {kind}" if term else f"Total {kind}"
    is_share = kind in _SHARES
    factor = 100 if is_share else 1
    series = [
        Series(
            split,
            shown,
            [
                (float(point["step"]), factor * float(point[f"{split}_{name}"]))
                for point in points
                if _is_number(point.get(f"{split}_{name}"))
            ],
        )
        for split, shown in _SPLITS.items()
    ]
    drawn = [line for line in series if line.points]
    unit = "%" if is_share else "nats" if kind == "loss" else ""
    ends = "; ".join(
        f"{line.name} from {line.points[0][1]:.4g} to {line.points[-1][1]:.4g}" for line in drawn
    )
    description = f"{heading} over {len(points)} evaluations: {ends}."
    chart = line_chart(f"curve-{name}", heading, description, unit=unit, series=drawn)
    return Curve(heading, chart)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
