"""Fine-tuning of one task: every seed of the encoder and of its random twin, in one process.

In: the start (a checkpoint with its tokenizer) and one task's examples. Out: scores per seed, every
prediction on dev and test, and the model of the median dev seed.
"""

import logging
import shutil
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch import nn
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from stages.core.artifacts import (
    content_hash,
    read_json,
    staged_directory,
    write_json,
    write_manifest,
)
from stages.core.errors import SettingsError
from stages.core.execution import read_execution
from stages.core.logs import fields
from stages.core.random import Draws
from stages.core.tracking.journal import RunJournal
from stages.finetuning.features import Features, encode, load_tokenizer
from stages.finetuning.metrics import score
from stages.finetuning.params import FinetuningParams, TaskSettings
from stages.finetuning.predictions import (
    median_seed,
    prediction_table,
    predictions,
    scores_of,
    task_score,
)
from stages.finetuning.task import DEV, TRAIN, Task, TaskExamples, read_task
from stages.finetuning.training import load_encoder, make_twin, predict, train
from stages.finetuning.twin import Outputs, cached_outputs, twin_key

log = logging.getLogger(__name__)
_SUBSET_SEED = 1  # which examples are taken must not differ between seeds
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
            f"params.yaml: finetuning.tasks has no {name!r}, only {list(params.tasks)}"
        )
    disable_progress_bar()
    set_verbosity_error()  # every load reports the fresh head, which load_encoder checks
    torch.set_num_threads(read_execution().workers)
    job = FinetuningJob(params, paths, journal, params.tasks[name])
    with staged_directory(paths["out"]) as out:
        job.write(out)


class FinetuningJob:
    """One task, encoded once for all of its trainings."""

    def __init__(
        self,
        params: FinetuningParams,
        paths: Mapping[str, Path],
        journal: RunJournal,
        settings: TaskSettings,
    ) -> None:
        self.params, self.settings, self.journal = params, settings, journal
        self.start, self.folder = paths["start"], paths["task"]
        self.task: Task = read_task(self.folder)
        _require_positions(self.start, settings.max_seq_length)
        tokenizer = load_tokenizer(self.start, settings.max_seq_length)
        draws = Draws(_SUBSET_SEED, f"finetuning.subset.{self.task.name}")
        self.train_examples: TaskExamples = self.task.splits[TRAIN].subset(
            settings.max_train_examples, draws
        )
        self.train_features = encode(self.train_examples, tokenizer)
        self.features: dict[str, Features] = {
            split: encode(examples, tokenizer)
            for split, examples in self.task.splits.items()
            if split != TRAIN and len(examples)
        }
        self._log_sample(tokenizer)

    def write(self, out: Path) -> None:
        """Train everything and write the artefact."""
        outputs: dict[str, dict[int, Outputs]] = {"encoder": {}, "twin": {}}
        for seed in self.params.seeds:
            outputs["encoder"][seed] = self._encoder(seed, out / f".seed-{seed}")
            outputs["twin"][seed] = cached_outputs(
                twin_key(self.start, self.folder, self.settings, seed),
                partial(self._twin, seed),
            )
        scores = {
            system: {seed: scores_of(self.task, one) for seed, one in by_seed.items()}
            for system, by_seed in outputs.items()
        }
        chosen = median_seed(self.task, scores["encoder"])
        (out / f".seed-{chosen}").rename(out / "model")
        for seed in self.params.seeds:
            shutil.rmtree(out / f".seed-{seed}", ignore_errors=True)
        self._write_tables(out, outputs, scores, chosen)

    def _write_tables(
        self,
        out: Path,
        outputs: dict[str, dict[int, Outputs]],
        scores: dict[str, dict[int, dict[str, float]]],
        chosen: int,
    ) -> None:
        pq.write_table(prediction_table(self.task, outputs), out / "predictions.parquet")
        systems = {
            system: {"seeds": {str(seed): one for seed, one in by_seed.items()}}
            for system, by_seed in scores.items()
        }
        facts = {
            "task": self.task.name,
            "kind": self.task.kind,
            "metrics": list(self.task.metrics),
            "systems": systems,
            "median_seed": chosen,
        }
        write_json(out / "metrics.json", facts)
        truncated = {split: features.num_truncated for split, features in self.features.items()}
        properties = {
            "task": self.task.name,
            "mode": self.params.mode,
            "start": content_hash(self.start),
            "settings": self.settings.model_dump(mode="json"),
            "train_examples": len(self.train_examples),
            "truncated": {TRAIN: self.train_features.num_truncated, **truncated},
        }
        write_manifest(out, "finetuning", properties)
        for system, by_seed in scores.items():
            for seed, one in by_seed.items():
                self.journal.metrics({f"{system}/score": task_score(self.task, one)}, step=seed)

    def _encoder(self, seed: int, folder: Path) -> Outputs:
        torch.manual_seed(seed)
        model = load_encoder(self.start, self.task)
        outputs = self._trained(model, "encoder", seed)
        model.save_pretrained(folder)  # type: ignore[operator]
        for file in _TOKENIZER_FILES:
            if (self.start / file).is_file():
                shutil.copyfile(self.start / file, folder / file)
        return outputs

    def _twin(self, seed: int) -> Outputs:
        torch.manual_seed(seed)
        return self._trained(make_twin(self.start, self.task), "twin", seed)

    def _trained(self, model: nn.Module, system: str, seed: int) -> Outputs:
        """Train one system with one seed; its outputs on every split but train."""
        started = time.monotonic()

        def after_epoch(epoch: int, loss: float) -> None:
            value = task_score(self.task, self._dev_scores(model))
            self.journal.metrics(
                {
                    f"{system}/seed-{seed}/train_loss": loss,
                    f"{system}/seed-{seed}/dev_score": value,
                },
                step=epoch,
            )
            line = fields("epoch", system=system, seed=seed, number=epoch, loss=loss, dev=value)
            log.info("%s", line)

        assert self.train_examples.labels is not None
        train(
            model,
            self.train_features,
            self.train_examples.labels,
            self.settings,
            is_regression=self.task.is_regression,
            seed=seed,
            after_epoch=after_epoch,
        )
        self.journal.metrics({f"{system}/seconds": time.monotonic() - started}, step=seed)
        return self._predict(model)

    def _dev_scores(self, model: nn.Module) -> dict[str, float]:
        labels = self.task.splits[DEV].labels
        assert labels is not None, "read_task refuses an unlabelled dev"
        outputs = predict(model, self.features[DEV])
        return score(self.task.metrics, labels, predictions(self.task, outputs))

    def _predict(self, model: nn.Module) -> Outputs:
        return {split: predict(model, features) for split, features in self.features.items()}

    def _log_sample(self, tokenizer: object) -> None:
        first = self.train_features.ids[: self.train_features.offsets[1]].tolist()
        text = tokenizer.decode(first, skip_special_tokens=False)  # type: ignore[attr-defined]
        label = self.train_examples.labels
        log.info("sample: %s label=%s", text, None if label is None else label[0])


def _require_positions(start: Path, max_seq_length: int) -> None:
    positions = read_json(start / "config.json").get("max_position_embeddings", max_seq_length)
    if max_seq_length > positions:
        raise SettingsError(
            f"params.yaml: finetuning max_seq_length is {max_seq_length}, but the encoder in "
            f"{start} knows {positions} positions; lower it, or pre-train at that length"
        )
