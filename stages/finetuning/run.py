"""Fine-tuning of one task: every seed of the encoder and of its random twin, in one process.

In: the start (a checkpoint with its tokenizer) and one task's examples. Out: scores per seed with
bootstrap intervals, every prediction on dev and test, and the model of the median dev seed.
"""

import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq
import torch
from numpy import ndarray
from torch import nn
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from stages.core.artifacts import (
    content_hash,
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
from stages.finetuning.classifier import load_encoder, make_twin
from stages.finetuning.features import Features, load_tokenizer
from stages.finetuning.intervals import intervals
from stages.finetuning.params import FinetuningParams
from stages.finetuning.predictions import (
    Outputs,
    all_scores,
    constant_seeds,
    dev_scores,
    median_seed,
    prediction_table,
    task_score,
)
from stages.finetuning.task import DEV, TRAIN, Task, read_task
from stages.finetuning.training import Update, predict, train
from stages.finetuning.twin import kept_outputs, twin_key

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
    disable_progress_bar()
    set_verbosity_error()  # every load reports the fresh head, which load_encoder checks
    torch.set_num_threads(read_execution().workers)
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
        require_content(self.folder, "tasks")
        _require_positions(self.start, name, self.settings.max_seq_length)
        tokenizer = load_tokenizer(self.start, self.settings.max_seq_length)
        self.task: Task = read_task(self.folder, self.settings.max_train_examples)
        self.features: dict[str, Features] = {
            split: tokenizer.encode(examples) for split, examples in self.task.splits.items()
        }
        for split, features in self.features.items():
            size, cut = len(self.task.splits[split]), features.num_truncated
            log.info("%s", fields("encoded", split=split, examples=size, truncated=cut))
        first = self.features[TRAIN].ids[: self.features[TRAIN].offsets[1]].tolist()
        text = tokenizer.tokenizer.decode(first, skip_special_tokens=False)
        log.info("sample: %s label=%g", text, self.task.labels(TRAIN)[0])

    def write(self, out: Path) -> None:
        """Train everything and write the artefact."""
        outputs: dict[str, dict[int, Outputs]] = {"encoder": {}, "twin": {}}
        for seed in self.params.seeds:
            outputs["encoder"][seed] = self._encoder(seed, out / f".seed-{seed}")
            outputs["twin"][seed] = self._twin(seed)
        scores = {
            system: {seed: all_scores(self.task, one) for seed, one in by_seed.items()}
            for system, by_seed in outputs.items()
        }
        chosen = median_seed(self.task, scores["encoder"])
        (out / f".seed-{chosen}").rename(out / "model")
        for seed in self.params.seeds:
            shutil.rmtree(out / f".seed-{seed}", ignore_errors=True)
        constant = {
            system: constant_seeds(self.task, by_seed) for system, by_seed in outputs.items()
        }
        pq.write_table(prediction_table(self.task, outputs), out / "predictions.parquet")
        metrics = self._metrics(scores, constant, chosen)
        write_json(out / "metrics.json", metrics | {"intervals": intervals(self.task, outputs)})
        write_manifest(out, "finetuning", self._properties())
        for system, by_seed in scores.items():
            if constant[system]:
                log.warning(
                    "%s", fields("constant-predictions", system=system, seeds=constant[system])
                )
            for seed, one in by_seed.items():
                self.journal.metrics({f"{system}/score": task_score(self.task, one)}, step=seed)

    def _metrics(
        self,
        scores: dict[str, dict[int, dict[str, Any]]],
        constant: dict[str, list[int]],
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
            "constant_predictions": constant,
            "median_seed": chosen,
        }

    def _properties(self) -> dict[str, Any]:
        return {
            "task": self.task.name,
            "mode": self.params.mode,
            "start": content_hash(self.start),
            "tokenizer_hash": content_hash(self.start / "tokenizer.json"),
            "seeds": list(self.params.seeds),
            "settings": self.settings.model_dump(mode="json"),
            "train_examples": len(self.task.splits[TRAIN]),
            "examples": {split: len(examples) for split, examples in self.task.splits.items()},
            "truncated": {split: one.num_truncated for split, one in self.features.items()},
        }

    def _encoder(self, seed: int, folder: Path) -> Outputs:
        model = load_encoder(self.start, self.task, seed)
        outputs = self._trained(model, "encoder", seed)
        model.save_pretrained(folder)  # type: ignore[operator]
        for file in _TOKENIZER_FILES:
            if (self.start / file).is_file():
                shutil.copyfile(self.start / file, folder / file)
        return outputs

    def _twin(self, seed: int) -> Outputs:
        key = twin_key(self.start, self.folder, self.settings, mode=self.params.mode, seed=seed)
        sizes = {
            split: len(examples) for split, examples in self.task.splits.items() if split != TRAIN
        }
        return kept_outputs(
            key,
            lambda: self._trained(make_twin(self.start, self.task, seed), "twin", seed),
            sizes=sizes,
        )

    def _trained(self, model: nn.Module, system: str, seed: int) -> dict[str, ndarray]:
        """Train one system with one seed; its outputs on every split but train."""
        series, interval = f"{system}/seed-{seed}", read_execution().log_interval_steps
        losses: list[float] = []
        started, evaluating_seconds = time.monotonic(), 0.0
        for update in train(model, self.features[TRAIN], self.task, self.settings, seed=seed):
            losses.append(update.loss)
            if update.is_last_of_epoch or update.step % interval == 0:
                self.journal.metrics({f"{series}/train_loss": fmean(losses)}, step=update.step)
                losses.clear()
            if update.is_last_of_epoch:
                evaluating_seconds -= time.monotonic()
                self._evaluate(model, series, update)
                evaluating_seconds += time.monotonic()
        seconds = time.monotonic() - started
        num_examples = len(self.task.splits[TRAIN]) * self.settings.num_epochs
        rate = num_examples / (seconds - evaluating_seconds)
        self.journal.metrics(
            {f"{system}/seconds": seconds, f"{system}/examples_per_second": rate}, step=seed
        )
        log.info("%s", fields("trained", system=system, seed=seed, examples_per_second=rate))
        return {
            split: predict(model, features)
            for split, features in self.features.items()
            if split != TRAIN
        }

    def _evaluate(self, model: nn.Module, series: str, update: Update) -> None:
        scores = dev_scores(self.task, predict(model, self.features[DEV]))
        values = {"dev_score": task_score(self.task, scores)}
        values |= {f"dev_{name}": value for name, value in scores.items()}
        self.journal.metrics(
            {f"{series}/{name}": value for name, value in values.items()}, step=update.step
        )
        log.info("%s", fields("epoch", of=series, number=update.epoch, **values))


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
