"""Two diagrams of predictions: how sure beside how right, and predicted beside labelled scores.

Pure functions from numbers to SVG text, in the frame and the colours of the line charts. In both a
model without fault lies on the dashed diagonal.
"""

import math
from collections.abc import Mapping, Sequence

from jaxtyping import Float64
from numpy import ndarray

from stages.evaluation.calibration import Calibration
from stages.evaluation.charts import Axis, Series, chart, frame, legend, nice_axis, x_place, y_place
from stages.evaluation.facts import points
from stages.evaluation.scores import SYSTEM_NAMES

_LARGEST_RADIUS, _SMALLEST_RADIUS = 13.0, 2.5
MOST_DOTS = 250


def reliability(identity: str, systems: Mapping[str, Calibration]) -> str:
    """Accuracy over confidence, in percent: a dot a group of examples, its area their share."""
    bins = [one for found in systems.values() for one in found.bins]
    lowest = min(min(one.confidence, one.accuracy) for one in bins)
    axis = Axis(math.floor(10 * min(lowest, 0.9)) * 10.0, 100.0, 10.0 if lowest >= 0.5 else 20.0)
    description = "; ".join(
        f"{SYSTEM_NAMES[name]}: expected calibration error {points(found.expected_error)}"
        for name, found in systems.items()
    )
    parts = [frame(axis, axis, "% right", "% sure"), _diagonal(axis), _names(systems)]
    for name in reversed(list(systems)):  # the encoder on top
        total = sum(one.examples for one in systems[name].bins)
        for one in systems[name].bins:
            radius = max(_SMALLEST_RADIUS, _LARGEST_RADIUS * math.sqrt(one.examples / total))
            title = (
                f"{SYSTEM_NAMES[name]}: {one.examples:,} examples, {points(one.confidence)} % "
                f"sure, {points(one.accuracy)} % right"
            )
            place = (100 * one.confidence, 100 * one.accuracy)
            parts.append(_dot(name, axis, place, radius, title))
    return chart(identity, "Calibration", f"{description}.", parts)


def agreement(
    identity: str, labels: Float64[ndarray, "N"], systems: Mapping[str, Float64[ndarray, "N"]]
) -> str:
    """Predicted over labelled scores: every n-th example, so that at most MOST_DOTS are drawn."""
    every = -(-len(labels) // MOST_DOTS)
    drawn = {name: values[::every] for name, values in systems.items()}
    ends = [float(end) for one in (labels, *drawn.values()) for end in (one.min(), one.max())]
    axis = nice_axis(min(ends), max(ends))
    parts = [frame(axis, axis, "predicted", "label"), _names(systems)]
    for name in reversed(list(drawn)):
        parts += [
            _dot(name, axis, (float(label), float(value)), _SMALLEST_RADIUS)
            for label, value in zip(labels[::every], drawn[name], strict=True)
        ]
    parts.append(_diagonal(axis))
    which = "every example" if every == 1 else f"one example in {every}"
    return chart(identity, "Predicted and labelled scores", f"{which} of the set.", parts)


def _names(systems: Mapping[str, object]) -> str:
    lines: Sequence[Series] = [Series(name, SYSTEM_NAMES[name], ()) for name in systems]
    return legend(lines)


def _diagonal(axis: Axis) -> str:
    return (
        f'<line class="diagonal" x1="{x_place(axis, axis.low)}" y1="{y_place(axis, axis.low)}" '
        f'x2="{x_place(axis, axis.high)}" y2="{y_place(axis, axis.high)}"/>'
    )


def _dot(style: str, axis: Axis, place: tuple[float, float], radius: float, title: str = "") -> str:
    x, y = x_place(axis, place[0]), y_place(axis, place[1])
    told = f"><title>{title}</title></circle>" if title else "/>"
    return f'<circle class="dot {style}" cx="{x}" cy="{y}" r="{radius:.1f}"{told}'
