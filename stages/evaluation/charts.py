"""Charts as SVG text: pure functions, colours by CSS class, nothing drawn that is not in the data.

A strip (one row of a dot plot) has no viewBox: it places marks in percent of its width, so that it
fills its column and neither text nor dots are scaled. A line chart has a viewBox and scales.
Every chart carries `<title>` and `<desc>`, every mark a `<title>` that a pointer shows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_STRIP_HEIGHT, _LANE_TOP, _LANE_STEP = 44, 14, 16
_WIDTH, _HEIGHT = 520, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 16, 36, 38
_MOST_DOTS = 60


@dataclass(frozen=True)
class Axis:
    """A numeric axis, with a tick at every multiple of `step` from low to high."""

    low: float
    high: float
    step: float

    @property
    def ticks(self) -> tuple[float, ...]:
        """Tick values from low to high."""
        first = math.ceil(self.low / self.step - 1e-9)
        last = math.floor(self.high / self.step + 1e-9)
        return tuple(index * self.step for index in range(first, last + 1))

    def share(self, value: float) -> float:
        """Where a value lies between low (0) and high (1)."""
        return (value - self.low) / (self.high - self.low)

    def text(self, value: float) -> str:
        """A tick's label: as many digits as the step needs."""
        digits = max(0, -math.floor(math.log10(self.step) + 1e-9))
        return f"{value + 0.0:,.{digits}f}".replace("-", "\u2212")


@dataclass(frozen=True)
class Lane:
    """One system's dots in a strip; `style` is its CSS class."""

    style: str
    name: str
    mean: float
    values: Sequence[float]
    labels: Sequence[str]
    interval: tuple[float, float] | None = None
    """Drawn as a band behind the dots."""


@dataclass(frozen=True)
class Series:
    """One line of a line chart; `style` is its CSS class.

    Lines of one style and name share an entry of the legend; `mark` then names their points.
    """

    style: str
    name: str
    points: Sequence[tuple[float, float]]
    mark: str = ""


def nice_axis(low: float, high: float, num_intervals: int = 5) -> Axis:
    """An axis around low..high with a step of 1, 2 or 5 times a power of ten."""
    if not high > low:
        margin = abs(low) * 0.1 or 1.0
        low, high = low - margin, high + margin
    raw = (high - low) / num_intervals
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Axis(first * step, last * step, step)


def strip(identity: str, title: str, description: str, lanes: Sequence[Lane], axis: Axis) -> str:
    """One row of a dot plot: a lane a system, a dot a seed, a bar at the mean.

    Its tick labels, in a group `ticks` below it, are for pages too narrow for a common axis.
    """
    parts = [
        f'<svg class="strip" role="img" aria-labelledby="{identity}-t {identity}-d" width="100%" '
        f'height="{_STRIP_HEIGHT}">',
        f'<title id="{identity}-t">{escape(title)}</title>',
        f'<desc id="{identity}-d">{escape(description)}</desc>',
    ]
    for tick in axis.ticks:
        style = "zero" if abs(tick) < axis.step / 2 else "grid"
        place = _percent(axis, tick)
        parts.append(
            f'<line class="{style}" x1="{place}" x2="{place}" y1="0" y2="{_STRIP_HEIGHT}"/>'
        )
    for number, lane in enumerate(lanes):
        parts.append(_lane(lane, axis, _LANE_TOP + number * _LANE_STEP))
    parts.append(
        f'<g class="ticks" aria-hidden="true">{_tick_labels(axis, _STRIP_HEIGHT + 13)}</g>'
    )
    return "".join([*parts, "</svg>"])


def _lane(lane: Lane, axis: Axis, y: int) -> str:
    first, last = _percent(axis, min(lane.values)), _percent(axis, max(lane.values))
    mean = _percent(axis, lane.mean)
    dots = "".join(
        f'<circle cx="{_percent(axis, value)}" cy="{y}" r="4.5"><title>{escape(label)}</title>'
        "</circle>"
        for value, label in zip(lane.values, lane.labels, strict=True)
    )
    return (
        f'<g class="lane {lane.style}">{_band(lane, axis, y)}'
        f'<line class="range" x1="{first}" x2="{last}" y1="{y}" y2="{y}"/>{dots}'
        f'<line class="mean" x1="{mean}" x2="{mean}" y1="{y - 8}" y2="{y + 8}"/></g>'
    )


def _band(lane: Lane, axis: Axis, y: int) -> str:
    if lane.interval is None:
        return ""
    low, high = (min(max(axis.share(end), 0.0), 1.0) for end in lane.interval)
    return (
        f'<rect class="band" x="{100 * low:.2f}%" width="{100 * (high - low):.2f}%" '
        f'y="{y - 6}" height="12" rx="3"/>'
    )


def _percent(axis: Axis, value: float) -> str:
    return f"{100 * axis.share(value):.2f}%"


def strip_axis(axis: Axis) -> str:
    """The tick labels that belong below or above a column of strips; for the eye only."""
    labels = _tick_labels(axis, 11)
    return f'<svg class="axis" aria-hidden="true" width="100%" height="18">{labels}</svg>'


def _tick_labels(axis: Axis, y: int) -> str:
    return "".join(
        f'<text x="{_percent(axis, tick)}" y="{y}" text-anchor="middle">{axis.text(tick)}</text>'
        for tick in axis.ticks
    )


def line_chart(
    identity: str,
    title: str,
    description: str,
    *,
    unit: str,
    series: Sequence[Series],
    x_name: str = "training step",
) -> str:
    """Values over training: axes with ticks, the unit at the top, a legend beside it."""
    steps = [step for line in series for step, _ in line.points]
    values = [value for line in series for _, value in line.points]
    step = nice_axis(0.0, max(steps), num_intervals=6).step
    are_whole = all(value == int(value) for value in steps)
    horizontal = Axis(0.0, max(steps), max(step, 1.0) if are_whole else step)
    vertical = nice_axis(min(values), max(values))
    lines = [_line(line, horizontal, vertical, x_name) for line in series]
    parts = [frame(horizontal, vertical, unit, x_name), legend(series), *lines]
    return chart(identity, title, description, parts)


def chart(identity: str, title: str, description: str, parts: Sequence[str]) -> str:
    """Any drawing of the size that `frame` has, named and described."""
    return "".join(
        [
            f'<svg class="chart" role="img" aria-labelledby="{identity}-t {identity}-d" '
            f'viewBox="0 0 {_WIDTH} {_HEIGHT}">',
            f'<title id="{identity}-t">{escape(title)}</title>',
            f'<desc id="{identity}-d">{escape(description)}</desc>',
            *parts,
            "</svg>",
        ]
    )


def x_place(axis: Axis, value: float) -> float:
    """Where a value of the horizontal axis lies, in units of the viewBox."""
    return round(_LEFT + axis.share(value) * (_WIDTH - _LEFT - _RIGHT), 1)


def y_place(axis: Axis, value: float) -> float:
    """Where a value of the vertical axis lies, in units of the viewBox."""
    return round(_HEIGHT - _BOTTOM - axis.share(value) * (_HEIGHT - _TOP - _BOTTOM), 1)


def frame(horizontal: Axis, vertical: Axis, unit: str, x_name: str) -> str:
    """Grid lines, tick labels and the names of both axes."""
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for tick in vertical.ticks:
        y = y_place(vertical, tick)
        style = "zero" if tick == vertical.low else "grid"
        parts.append(f'<line class="{style}" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        label = vertical.text(tick)
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{label}</text>')
    for tick in horizontal.ticks:
        x = x_place(horizontal, tick)
        parts.append(f'<line class="zero" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>')
        label = horizontal.text(tick)
        parts.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{label}</text>')
    parts.append(f'<text class="unit" x="0" y="14">{escape(unit)}</text>')
    place = f'x="{right}" y="{_HEIGHT - 2}" text-anchor="end"'
    parts.append(f'<text class="unit" {place}>{escape(x_name)}</text>')
    return "".join(parts)


def legend(series: Sequence[Series]) -> str:
    """Names, right-aligned at the top, in drawing order; a series without points is one of dots."""
    parts: list[str] = []
    x = float(_WIDTH - _RIGHT)
    by_name = {(line.style, line.name): line for line in series}
    for line in reversed(by_name.values()):
        x -= 7 * len(line.name)
        parts.append(f'<text x="{x}" y="14">{escape(line.name)}</text>')
        parts.append(
            f'<line class="curve {line.style}" x1="{x - 26}" x2="{x - 6}" y1="10" y2="10"/>'
            if line.points
            else f'<circle class="dot {line.style}" cx="{x - 12}" cy="10" r="4.5"/>'
        )
        x -= 26 + 16
    return "".join(parts)


def _line(line: Series, horizontal: Axis, vertical: Axis, x_name: str) -> str:
    places = [(x_place(horizontal, step), y_place(vertical, value)) for step, value in line.points]
    path = " ".join(f"{x},{y}" for x, y in places)
    parts = [f'<polyline class="curve {line.style}" points="{path}"/>']
    if len(places) <= _MOST_DOTS:
        parts += [
            f'<circle class="point {line.style}" cx="{x}" cy="{y}" r="3"><title>'
            f"{escape(line.mark or line.name)}, {escape(x_name)} {_amount(step)}: "
            f"{value:.4g}</title>"
            "</circle>"
            for (x, y), (step, value) in zip(places, line.points, strict=True)
        ]
    return "".join(parts)


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.4g}"
