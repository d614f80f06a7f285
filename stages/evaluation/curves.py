"""Learning curves of pre-training as charts: one for each quantity that the curve holds.

The objective decides what is measured, so the names are read from the points: `train_X` and
`validation_X` share the chart of `X`; the total loss comes first, then each term's loss
and accuracy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.errors import ArtifactError
from stages.evaluation.charts import Series, line_chart
from stages.evaluation.facts import label

_SPLITS = {"train": "training", "validation": "validation"}  # the later is drawn on top
_TERMS = {
    "mlm": "Masked language model",
    "nsp": "Next sentence",
}


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
    """Names behind `train_` and `validation_`: the total loss, then each term's loss, accuracy."""
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
    is_accuracy = kind == "accuracy"
    factor = 100 if is_accuracy else 1
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
    unit = "%" if is_accuracy else "nats" if kind == "loss" else ""
    ends = "; ".join(
        f"{line.name} from {line.points[0][1]:.4g} to {line.points[-1][1]:.4g}" for line in drawn
    )
    description = f"{heading} over {len(points)} evaluations: {ends}."
    chart = line_chart(f"curve-{name}", heading, description, unit=unit, series=drawn)
    return Curve(heading, chart)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
