"""Fine-tuning of one task: every seed of the encoder and of its random twin.

In: the start (a checkpoint with its tokenizer) and one task's examples. Out: scores per seed with
bootstrap intervals, every prediction on dev and test, learning curves, and the model of the median
dev seed. This process reads, encodes, plans and writes; torch is where members are trained.
"""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stages.core.artifacts import (
    read_json,
    require_content,
    staged_directory,
    write_json,
    write_manifest,
)
from stages.core.errors import ArtifactError, SettingsError
from stages.core.execution import read_execution
from stages.core.logs import fields
from stages.core.tracking.journal import RunJournal
from stages.finetuning.encoded import (
    Encoded,
    encode,
    features_of,
    require_settings,
    save_encoded,
)
from stages.finetuning.features import load_tokenizer
from stages.finetuning.intervals import intervals
from stages.finetuning.members import ENCODER, SYSTEMS, Job, MemberKeys
from stages.finetuning.params import FinetuningParams
from stages.finetuning.predictions import (
    Outputs,
    all_scores,
    constant_seeds,
    median_seed,
    prediction_table,
    task_score,
)
from stages.finetuning.sweep import Learnt, Sweep, members_at_once
from stages.finetuning.task import TRAIN, Task, read_task

log = logging.getLogger(__name__)
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)


def run(
    params: FinetuningParams, paths: Mapping[str, Path], journal: RunJournal, name: str
) -> None:
    """Fine-tune task `name` into `paths["out"]`.

    Raises: SettingsError: the task is not in the settings. ArtifactError: the start or the
    task's examples cannot be used.
    """
    if name not in params.tasks:
        raise SettingsError(
            f"params.yaml: finetuning.tasks has no {name!r}, only {list(params.tasks)}; "
            "name one of them, or add it"
        )
    job = FinetuningJob(params, paths, journal, name)
    with staged_directory(paths["out"]) as out:
        job.write(out)


class FinetuningJob:
    """One task, encoded once for all of its trainings."""

    def __init__(
        self, params: FinetuningParams, paths: Mapping[str, Path], journal: RunJournal, name: str
    ) -> None:
        self.params, self.settings, self.journal = params, params.tasks[name], journal
        self.start, self.folder = paths["start"], paths["task"]
        self.protocol = params.protocols[self.settings.protocol]
        require_content(self.folder, "tasks")
        _require_positions(self.start, name, self.settings.max_seq_length)
        self.keys = MemberKeys(params, self.start, self.folder, name)
        tokenizer = load_tokenizer(self.start, self.settings.max_seq_length)
        self.task: Task = read_task(self.folder, self.settings.max_train_examples)
        require_settings(
            name,
            is_extraction=self.task.is_extraction,
            extraction=self.settings.extraction,
            mode=params.mode,
        )
        self.encoded: dict[str, Encoded] = {
            split: encode(
                tokenizer,
                examples,
                max_seq_length=self.settings.max_seq_length,
                extraction=self.settings.extraction,
            )
            for split, examples in self.task.splits.items()
        }
        for split, encoded in self.encoded.items():
            size, cut = len(self.task.splits[split]), features_of(encoded).num_truncated
            log.info("%s", fields("encoded", split=split, examples=size, truncated=cut))
        features = features_of(self.encoded[TRAIN])
        text = tokenizer.tokenizer.decode(
            features.ids[: features.offsets[1]].tolist(), skip_special_tokens=False
        )
        log.info("sample: %s %s", text, self.task.shown_label(TRAIN))

    def write(self, out: Path) -> None:
        """Train everything and write the artefact."""
        working = out / ".working"
        sweep = self._sweep(working)
        learnt = sweep.learn(self.protocol, self.params.seeds)
        outputs: dict[str, dict[int, Outputs]] = {
            system: {seed: result.outputs for seed, result in one.results.items()}
            for system, one in learnt.items()
        }
        scores = {
            system: {seed: all_scores(self.task, one) for seed, one in by_seed.items()}
            for system, by_seed in outputs.items()
        }
        chosen = median_seed(self.task, scores["encoder"])
        self._write_model(sweep.model_of(learnt["encoder"].members[chosen]), out / "model")
        pq.write_table(prediction_table(self.task, outputs), out / "predictions.parquet")
        write_json(out / "curves.json", _curves(learnt))
        metrics = self._metrics(scores, outputs, chosen)
        if learnt["encoder"].search:
            metrics["selection"] = _selection(learnt, self.params.seeds[0])
        write_json(out / "metrics.json", metrics)
        shutil.rmtree(working)
        write_manifest(out, "finetuning", self._properties(learnt))
        self._report(scores, metrics["constant_predictions"])

    def _sweep(self, working: Path) -> Sweep:
        """The trainings to come, with what their processes read."""
        for split, encoded in self.encoded.items():
            save_encoded(encoded, working / "features" / split)
        workers = read_execution().workers
        num_members = len(SYSTEMS) * len(self.params.seeds)
        at_once = members_at_once(self.start, num_members, workers)
        job = Job(
            start=self.start,
            task=self.task.without_texts(),
            features=working / "features",
            frozen=self.params.features,
            extraction=self.settings.extraction,
            journal_key=self.journal.key,
            num_threads=max(1, workers // at_once),
        )
        return Sweep(job, self.keys, working / "models", at_once)

    def _write_model(self, trained: Path, model: Path) -> None:
        trained.rename(model)
        for file in _TOKENIZER_FILES:
            if (self.start / file).is_file():
                shutil.copyfile(self.start / file, model / file)

    def _metrics(
        self,
        scores: dict[str, dict[int, dict[str, Any]]],
        outputs: Mapping[str, Mapping[int, Outputs]],
        chosen: int,
    ) -> dict[str, Any]:
        systems = {
            system: {"seeds": {str(seed): one for seed, one in by_seed.items()}}
            for system, by_seed in scores.items()
        }
        return {
            "task": self.task.name,
            "kind": self.task.kind,
            "metrics": list(self.task.metrics),
            "primary": "mean of " + ", ".join(self.task.metrics),
            "systems": systems,
            "intervals": intervals(self.task, outputs),
            "constant_predictions": {
                system: constant_seeds(self.task, by_seed) for system, by_seed in outputs.items()
            },
            "median_seed": chosen,
        }

    def _properties(self, learnt: Mapping[str, Learnt]) -> dict[str, Any]:
        return {
            "task": self.task.name,
            "mode": self.params.mode,
            "features": self.params.features,
            "start": self.keys.start[ENCODER],
            "tokenizer_hash": self.keys.shared["tokenizer"],
            "seeds": list(self.params.seeds),
            "settings": self.settings.model_dump(mode="json"),
            "trainings": {
                system: one.training.model_dump(mode="json") for system, one in learnt.items()
            },
            "train_examples": len(self.task.splits[TRAIN]),
            "examples": {split: len(examples) for split, examples in self.task.splits.items()},
            "truncated": {
                split: features_of(one).num_truncated for split, one in self.encoded.items()
            },
        }

    def _report(
        self, scores: Mapping[str, Mapping[int, dict[str, Any]]], constant: Mapping[str, list[int]]
    ) -> None:
        for system, by_seed in scores.items():
            if constant[system]:
                log.warning(
                    "%s", fields("constant-predictions", system=system, seeds=constant[system])
                )
            for seed, one in by_seed.items():
                self.journal.metrics({f"{system}/score": task_score(self.task, one)}, step=seed)


def _curves(learnt: Mapping[str, Learnt]) -> dict[str, Any]:
    """System -> seed -> one entry an epoch."""
    return {
        system: {str(seed): result.curve for seed, result in one.results.items()}
        for system, one in learnt.items()
    }


def _selection(learnt: Mapping[str, Learnt], seed: int) -> dict[str, Any]:
    """System -> what was searched on dev with one seed, and what was taken."""
    return {
        system: {
            "rule": f"the best score on dev with seed {seed}",
            "members": [
                {
                    "settings": tried.training.model_dump(mode="json"),
                    "seed": seed,
                    "dev_score": tried.dev_score,
                    "is_chosen": tried.training == one.training,
                }
                for tried in one.search
            ],
        }
        for system, one in learnt.items()
    }


def _require_positions(start: Path, name: str, max_seq_length: int) -> None:
    if not start.is_dir():
        raise ArtifactError(f"{start}: missing; run the stage that makes it (dvc repro)")
    config = read_json(start / "config.json")
    positions = config.get("max_position_embeddings", max_seq_length)
    if config.get("model_type") == "roberta":  # it leaves those up to its padding's unused
        positions -= config["pad_token_id"] + 1
    if max_seq_length > positions:
        raise SettingsError(
            f"params.yaml: finetuning.tasks.{name}.max_seq_length is {max_seq_length}, but the "
            f"encoder in {start} knows {positions} positions; lower it, or pre-train at that length"
        )
