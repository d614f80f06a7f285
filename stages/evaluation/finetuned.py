"""Everything that fine-tuning left of one task, read and held against the settings and the task.

In: the task's entry in the tasks manifest, its development set, and its folder of the fine-tuning
stage. Out: scores, the median seeds' predictions, learning curves, what was searched, and the most
confident mistakes. Every refusal names the file, and so the task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.artifacts import read_json, read_manifest
from stages.core.errors import ArtifactError
from stages.core.settings import PARAMS_FILE
from stages.evaluation.epochs import Epochs, parse_epochs
from stages.evaluation.examples import Examples, read_examples
from stages.evaluation.mistakes import (
    Mistake,
    confident_mistakes,
    largest_mistakes,
    wrong_answers,
)
from stages.evaluation.predictions import EXTRACTION, PredictionFile, Predictions
from stages.evaluation.scores import AGAIN, MAIN_SPLIT, SYSTEMS, TaskScores, parse_scores
from stages.evaluation.selection import Selection, parse_selection


@dataclass(frozen=True)
class Finetuned:
    """One fine-tuned task."""

    name: str
    kind: str
    class_names: tuple[str, ...]
    """By class id; empty where the labels are scores or answers."""
    manifest: Mapping[str, Any]
    """That of the fine-tuning."""
    scores: TaskScores
    median_seeds: Mapping[str, int]
    """System -> the seed whose score on the development set is the median one."""
    predictions: Mapping[str, Mapping[str, Predictions]]
    """System -> scored split -> those of its median seed; none of an extraction."""
    epochs: Epochs
    selections: Mapping[str, Selection]
    """System -> what a protocol tried; empty where nothing was searched."""
    mistakes: Sequence[Mistake]
    """Of the encoder's median seed on the development set."""

    @property
    def are_questions(self) -> bool:
        """Whether answers are extracted from a text."""
        return self.kind == EXTRACTION


def read_finetuned(
    name: str, facts: Mapping[str, Any], seeds: Sequence[int], *, folder: Path, task_folder: Path
) -> Finetuned:
    """Read one task; `facts` is its entry in the tasks manifest.

    Raises: ArtifactError: the task was not fine-tuned, or a file is missing, damaged, or of other
    seeds or examples.
    """
    _require_folder(folder, name)
    metrics_path, curves_path = folder / "metrics.json", folder / "curves.json"
    metrics = read_json(metrics_path)
    scores = parse_scores(
        name, metrics, metrics=facts["metrics"], seeds=seeds, where=str(metrics_path)
    )
    median_seeds = {
        "encoder": _kept_seed(metrics, seeds, metrics_path),
        "twin": median_seed(scores, "twin"),
    }
    file = PredictionFile(folder / "predictions.parquet")
    predictions, mistakes = _looked_at(file, facts, scores, median_seeds, task_folder)
    return Finetuned(
        name=name,
        kind=facts["kind"],
        class_names=_class_names(facts),
        manifest=read_manifest(folder, "finetuning"),
        scores=scores,
        median_seeds=median_seeds,
        predictions=predictions,
        epochs=parse_epochs(read_json(curves_path), seeds=seeds, where=str(curves_path)),
        selections=parse_selection(metrics.get("selection"), where=str(metrics_path)),
        mistakes=mistakes,
    )


def _require_folder(folder: Path, name: str) -> None:
    if not folder.is_dir():
        raise ArtifactError(
            f"{folder}: missing, but {PARAMS_FILE} lists finetuning.tasks.{name}; fine-tune "
            "it (dvc repro), or take it off the list"
        )


def _class_names(facts: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(facts.get("labels") or ())


def _looked_at(
    file: PredictionFile,
    facts: Mapping[str, Any],
    scores: TaskScores,
    median_seeds: Mapping[str, int],
    task_folder: Path,
) -> tuple[dict[str, dict[str, Predictions]], list[Mistake]]:
    """The median seeds' predictions, and the encoder's worst of them."""
    are_questions = facts["kind"] == EXTRACTION
    examples = read_examples(task_folder / f"{MAIN_SPLIT}.parquet", are_questions=are_questions)
    file.require(scores.seeds, _sizes(scores, facts, examples))
    if are_questions:
        return {}, _wrong_answers(file, median_seeds["encoder"], examples)
    class_names = _class_names(facts)
    predictions = _predictions(file, scores, median_seeds, class_names)
    main = predictions["encoder"][MAIN_SPLIT]
    examples.require_index(main.index, file.path)
    examples.require_labels(main.labels, file.path)
    if class_names:
        return predictions, confident_mistakes(main, examples, class_names)
    return predictions, largest_mistakes(main, examples)


def median_seed(scores: TaskScores, system: str) -> int:
    """The seed with the median score on the development set; of an even number the lower one.

    As fine-tuning chooses the seed whose model it keeps: further development sets do not count.
    """
    measures = [measure for measure in scores.measures if measure.split == MAIN_SPLIT]
    columns = zip(*(scores.values[system][measure] for measure in measures), strict=True)
    by_seed = dict(zip(scores.seeds, (float(np.mean(column)) for column in columns), strict=True))
    ranked = sorted(by_seed, key=lambda seed: (by_seed[seed], seed))
    return ranked[(len(ranked) - 1) // 2]


def _kept_seed(metrics: Mapping[str, Any], seeds: Sequence[int], path: Path) -> int:
    seed = metrics.get("median_seed")
    if not isinstance(seed, int) or seed not in seeds:
        raise ArtifactError(
            f"{path}: median_seed is {seed!r}, expected one of {list(seeds)}; {AGAIN}"
        )
    return seed


def _sizes(scores: TaskScores, facts: Mapping[str, Any], examples: Examples) -> dict[str, int]:
    """Scored split -> its number of examples; of further ones, as the manifest says."""
    splits = dict.fromkeys(measure.split for measure in scores.measures)
    further = {split: facts["splits"][split]["examples"] for split in splits if split != MAIN_SPLIT}
    return {MAIN_SPLIT: len(examples.index), **further}


def _predictions(
    file: PredictionFile,
    scores: TaskScores,
    median_seeds: Mapping[str, int],
    class_names: Sequence[str],
) -> dict[str, dict[str, Predictions]]:
    """Both median seeds' predictions, on the same examples with the same labels."""
    splits = list(dict.fromkeys(measure.split for measure in scores.measures))
    found = {
        system: {split: file.labelled(system, median_seeds[system], split) for split in splits}
        for system in SYSTEMS
    }
    for split in splits:
        encoder, twin = (found[system][split] for system in SYSTEMS)
        if not (
            np.array_equal(encoder.index, twin.index)
            and np.array_equal(encoder.labels, twin.labels)
        ):
            raise ArtifactError(
                f"{file.path}: encoder and twin predict different examples or labels of {split}, "
                f"expected the same; {AGAIN}"
            )
        for system in SYSTEMS:
            _require_classes(found[system][split], class_names, f"{file.path}: {system}, {split}")
    return found


def _require_classes(predictions: Predictions, class_names: Sequence[str], where: str) -> None:
    expected = len(class_names) or 1
    if predictions.outputs.shape[1] != expected:
        raise ArtifactError(
            f"{where}: {predictions.outputs.shape[1]} outputs an example, expected {expected}, as "
            f"the task asks for {'classes' if class_names else 'a score'}; {AGAIN}"
        )
    for name in ("labels", "values") if class_names else ():
        ids = getattr(predictions, name)
        odd = np.flatnonzero((ids < 0) | (ids >= len(class_names)) | (ids % 1 != 0))
        if len(odd):
            raise ArtifactError(
                f"{where}: example {predictions.index[odd[0]]} has {ids[odd[0]]:g} among its "
                f"{name}, expected a class id below {len(class_names)}; {AGAIN}"
            )


def _wrong_answers(file: PredictionFile, seed: int, examples: Examples) -> list[Mistake]:
    if not file.holds_answers:
        raise ArtifactError(f"{file.path}: holds no answers to the task's questions; {AGAIN}")
    answers = file.answers("encoder", seed, MAIN_SPLIT)
    examples.require_index(answers.index, file.path)
    return wrong_answers(answers, examples)
