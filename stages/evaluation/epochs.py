"""Learning curves of fine-tuning: a point an epoch, for every system and seed, as two charts.

In: `curves.json`. A grid may have given the systems different numbers of epochs or early stops, so
each line has its own length.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.errors import ArtifactError
from stages.evaluation.charts import Series, line_chart
from stages.evaluation.curves import Curve
from stages.evaluation.scores import AGAIN, SYSTEM_NAMES, SYSTEMS

_NAMES = ("epoch", "step", "train_loss", "dev_score")


@dataclass(frozen=True)
class Epoch:
    """What was measured at the end of one epoch."""

    epoch: int
    step: int
    train_loss: float
    """Mean over the epoch's updates."""
    dev_score: float
    """The mean of the task's metrics on the development set, in 0..1."""


Epochs = Mapping[str, Mapping[int, Sequence[Epoch]]]  # system -> seed -> its epochs


def parse_epochs(content: Any, *, seeds: Sequence[int], where: str) -> Epochs:
    """Read `curves.json`; `where` names the file in messages.

    Raises: ArtifactError: a system or seed is missing or unknown, or an epoch's number is none.
    """
    found = sorted(content) if isinstance(content, Mapping) else type(content).__name__
    if not isinstance(content, Mapping) or set(content) != set(SYSTEMS):
        raise ArtifactError(f"{where}: systems are {found}, expected {list(SYSTEMS)}; {AGAIN}")
    return {system: _by_seed(content[system], seeds, f"{where}: {system}") for system in SYSTEMS}


def _by_seed(content: Any, seeds: Sequence[int], where: str) -> dict[int, list[Epoch]]:
    found = sorted(content) if isinstance(content, Mapping) else []
    if not isinstance(content, Mapping) or set(content) != {str(seed) for seed in seeds}:
        raise ArtifactError(
            f"{where}: curves of the seeds {found}, expected {[str(seed) for seed in seeds]} "
            f"(finetuning.seeds); {AGAIN}"
        )
    return {seed: _epochs(content[str(seed)], f"{where}, seed {seed}") for seed in seeds}


def _epochs(content: Any, where: str) -> list[Epoch]:
    if not isinstance(content, list) or not content:
        raise ArtifactError(f"{where}: expected a list of at least one epoch; {AGAIN}")
    return [_epoch(entry, f"{where}, entry {number}") for number, entry in enumerate(content)]


def _epoch(entry: Any, where: str) -> Epoch:
    values = entry if isinstance(entry, Mapping) else {}
    wrong = [name for name in _NAMES if not _is_finite(values.get(name))]
    if wrong:
        raise ArtifactError(
            f"{where}: {wrong[0]} is {values.get(wrong[0])!r}, expected a finite number; {AGAIN}"
        )
    epoch, step, loss, score = (values[name] for name in _NAMES)
    return Epoch(int(epoch), int(step), float(loss), float(score))


def _is_finite(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def epoch_curves(epochs: Epochs, identity: str) -> list[Curve]:
    """The training loss and the score over the epochs; `identity` begins the charts' ids."""
    return [
        _chart(
            epochs,
            f"{identity}-loss",
            ("Training loss, mean of each epoch", "nats"),
            lambda one: one.train_loss,
        ),
        _chart(
            epochs,
            f"{identity}-score",
            ("Score on the development set", "score \u00d7 100"),
            lambda one: 100 * one.dev_score,
        ),
    ]


def _chart(
    epochs: Epochs, identity: str, names: tuple[str, str], value: Callable[[Epoch], float]
) -> Curve:
    heading, unit = names
    series = [
        Series(
            system,
            SYSTEM_NAMES[system],
            [(one.epoch, value(one)) for one in points],
            mark=f"{SYSTEM_NAMES[system]}, seed {seed}",
        )
        for system in reversed(SYSTEMS)  # the encoder on top
        for seed, points in epochs[system].items()
    ]
    ends = "; ".join(
        f"{line.mark} from {line.points[0][1]:.4g} to {line.points[-1][1]:.4g}" for line in series
    )
    description = f"{heading}: {ends}."
    svg = line_chart(identity, heading, description, unit=unit, series=series, x_name="epoch")
    return Curve(heading, svg)
