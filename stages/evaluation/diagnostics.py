"""What a task's predictions say beyond its score: the part of `evaluation.json` that they fill.

In: the predictions of the encoder's and the twin's median seeds. Out: per kind of task McNemar's
test, calibration, confusion and class counts, or a summary of residuals. An extraction has none of
them: its answers have no classes.
"""

from collections.abc import Mapping
from typing import Any

from stages.core.statistics.mcnemar import mcnemar
from stages.evaluation.calibration import NUM_BINS, Calibration, calibration
from stages.evaluation.confusion import Confusion, confusion
from stages.evaluation.finetuned import Finetuned
from stages.evaluation.predictions import Predictions
from stages.evaluation.residuals import Residuals, residuals
from stages.evaluation.scores import MAIN_SPLIT, SYSTEMS, Measure
from stages.evaluation.summary import rounded

ACCURACY = "accuracy"


def diagnose(task: Finetuned) -> dict[str, Any]:
    """The keys that a task's entry gets beside its scores."""
    found: dict[str, Any] = {"kind": task.kind, "median_seeds": dict(task.median_seeds)}
    if task.are_questions:
        return found
    main = {system: task.predictions[system][MAIN_SPLIT] for system in SYSTEMS}
    if not task.class_names:
        return found | {"residuals": {system: _residuals(main[system]) for system in SYSTEMS}}
    matrices = {
        system: confusion(one.labels, one.values, task.class_names) for system, one in main.items()
    }
    return found | {
        "mcnemar": _mcnemar(task),
        "calibration": {"bins": NUM_BINS}
        | {system: _calibration(calibrated(one)) for system, one in main.items()},
        "confusion": {
            system: [list(row) for row in one.counts] for system, one in matrices.items()
        },
        "classes": _classes(matrices),
    }


def calibrated(predictions: Predictions) -> Calibration:
    """A classifier's calibration on the labels it was scored by."""
    return calibration(predictions.outputs, predictions.labels)


def _mcnemar(task: Finetuned) -> dict[str, Any]:
    """Label of a measure that is an accuracy -> the test between encoder and twin."""
    measures = [measure for measure in task.scores.measures if measure.metric == ACCURACY]
    return {measure.label: _test(task, measure) for measure in measures}


def _test(task: Finetuned, measure: Measure) -> dict[str, Any]:
    encoder, twin = (task.predictions[system][measure.split] for system in SYSTEMS)
    test = mcnemar(encoder.labels, encoder.values, twin.values)
    return {
        "only_encoder": test.only_first,
        "only_twin": test.only_second,
        "p_value": rounded(test.p_value),
    }


def _calibration(found: Calibration) -> dict[str, Any]:
    return {
        "expected_error": rounded(found.expected_error),
        "groups": [
            {
                "examples": one.examples,
                "confidence": rounded(one.confidence),
                "accuracy": rounded(one.accuracy),
            }
            for one in found.bins
        ],
    }


def _classes(matrices: Mapping[str, Confusion]) -> dict[str, Any]:
    """Class -> how many examples have it, and how many each system gives it."""
    first = matrices[SYSTEMS[0]]
    return {
        name: {"examples": first.labelled[number]}
        | {f"predicted_by_{system}": one.predicted[number] for system, one in matrices.items()}
        for number, name in enumerate(first.class_names)
    }


def _residuals(predictions: Predictions) -> dict[str, Any]:
    found: Residuals = residuals(predictions.labels, predictions.values)
    return {
        "mean": rounded(found.mean),
        "mean_absolute": rounded(found.mean_absolute),
        "root_mean_square": rounded(found.root_mean_square),
        "quartiles": [rounded(one) for one in found.quartiles],
        "largest_absolute": rounded(found.largest_absolute),
    }
