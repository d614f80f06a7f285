"""Trains members of a sweep, one after the other, in this process; the only way to torch.

A process serves many members: it imports torch once and maps the token ids that all of them share.
What a frozen encoder says of the examples it computes once for each start.
"""

import copy
import logging
import multiprocessing
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from statistics import fmean
from typing import Any, ClassVar

import torch
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from stages.core.execution import read_execution
from stages.core.logs import fields, set_up_logging
from stages.core.tracking.journal import RunJournal
from stages.finetuning.classifier import Classifier, load_encoder, make_twin
from stages.finetuning.encoded import load_encoded
from stages.finetuning.frozen import FixedFeatures, FrozenClassifier, PooledClassifier
from stages.finetuning.members import ENCODER, DivergedError, Job, Member, Order, Result
from stages.finetuning.predictions import dev_scores, task_score
from stages.finetuning.span_finder import SpanFinder
from stages.finetuning.task import DEV, TRAIN
from stages.finetuning.training import Learner, predict, train

log = logging.getLogger(__name__)


def begin(job: Job) -> None:
    """Make this process ready to train members of `job`."""
    if multiprocessing.parent_process() is not None:
        set_up_logging("finetuning")
    disable_progress_bar()
    set_verbosity_error()  # every load reports the fresh head, which load_encoder checks
    torch.set_num_threads(job.num_threads)
    if torch.cuda.is_available():  # side by side, each on a device of its own
        number = multiprocessing.current_process().name.rpartition("-")[2]
        torch.cuda.set_device(int(number) % torch.cuda.device_count() if number.isdigit() else 0)
    Worker.serving = Worker(job)


def train_member(order: Order) -> Result | DivergedError:
    """Train one member; settings under which the loss is no number give that error back."""
    assert Worker.serving is not None, "begin() comes first"
    try:
        return Worker.serving.train(order)
    except DivergedError as error:
        return error


class Worker:
    """One task's trainings."""

    serving: ClassVar["Worker | None"] = None
    """The one of this process."""

    def __init__(self, job: Job) -> None:
        self.job, self.task = job, job.task
        self.journal = RunJournal(job.journal_key)
        self.encoded = {split: load_encoded(job.features / split) for split in job.task.splits}
        # Of two systems whose members take turns: the encoder's, and the present twin's.
        self._fixed = lru_cache(maxsize=2)(self._fixed_features)

    def train(self, order: Order) -> Result:
        """Train a member, and save its model where the order names a folder."""
        member, patience = order.member, order.member.training.early_stop_epochs
        learner, features = self._learner(member)
        curve: list[dict[str, float]] = []
        best, weights = 0, dict[str, Any]()
        for facts in self._epochs(member, learner, features):
            curve.append(facts | self._dev_scores(learner, features))
            self._report(member, curve[-1])
            if patience is None:
                continue
            if not weights or curve[-1]["dev_score"] > curve[best]["dev_score"]:
                best, weights = len(curve) - 1, copy.deepcopy(learner.model.state_dict())
            elif len(curve) - 1 - best >= patience:
                break
        if weights:
            learner.model.load_state_dict(weights)
        if order.model_folder is not None:
            learner.save(order.model_folder)
        splits = [split for split in self.task.splits if split != TRAIN]
        outputs = {split: predict(learner, features[split]) for split in splits}
        return Result(outputs, curve, curve[best if weights else -1]["dev_score"])

    def _epochs(
        self, member: Member, learner: Learner, features: Mapping[str, Any]
    ) -> Iterator[dict[str, float]]:
        """Train, and yield epoch, step and mean train_loss after each epoch."""
        interval, examples = read_execution().log_interval_steps, len(self.task.splits[TRAIN])
        losses, unreported = list[float](), list[float]()
        started = time.monotonic()
        for update in train(learner, features[TRAIN], member.training, seed=member.seed):
            losses.append(update.loss)
            unreported.append(update.loss)
            if update.is_last_of_epoch or update.step % interval == 0:
                loss = {f"{member.series}/train_loss": fmean(unreported)}
                self.journal.metrics(loss, step=update.step)
                unreported.clear()
            if update.is_last_of_epoch:
                rate = examples / (time.monotonic() - started)
                self.journal.metrics(
                    {f"{member.series}/examples_per_second": rate}, step=update.step
                )
                yield {"epoch": update.epoch, "step": update.step, "train_loss": fmean(losses)}
                losses.clear()
                started = time.monotonic()

    def _dev_scores(self, learner: Learner, features: Mapping[str, Any]) -> dict[str, float]:
        scores = dev_scores(self.task, predict(learner, features[DEV]))
        by_name = {f"dev_{name}": value for name, value in scores.items()}
        return {"dev_score": task_score(self.task, scores), **by_name}

    def _report(self, member: Member, facts: Mapping[str, float]) -> None:
        scores = {name: value for name, value in facts.items() if name.startswith("dev_")}
        series = {f"{member.series}/{name}": value for name, value in scores.items()}
        self.journal.metrics(series, step=int(facts["step"]))
        log.info("%s", fields("epoch", of=member.series, number=facts["epoch"], **scores))

    def _learner(self, member: Member) -> tuple[Learner, Mapping[str, Any]]:
        """The member's model with a fresh head, and what it learns from."""
        is_encoder, start = member.system == ENCODER, self.job.start
        make = load_encoder if is_encoder else make_twin
        if self.job.extraction is not None:
            model = make(start, self.task, member.seed)
            return SpanFinder(model, self.task, self.job.extraction), self.encoded
        if self.job.frozen is None:
            return Classifier(make(start, self.task, member.seed), self.task), self.encoded
        frozen = self._frozen(make(start, self.task, member.seed), member.seed)
        return frozen, self._fixed(member.system, None if is_encoder else member.seed)

    def _frozen(self, model: Any, seed: int) -> FrozenClassifier | PooledClassifier:
        if self.job.frozen == "last":
            return FrozenClassifier(model, self.task, self.job.start)
        is_weighted = self.job.frozen == "weighted"
        return PooledClassifier(model.base_model, self.task, is_weighted=is_weighted, seed=seed)

    def _fixed_features(self, system: str, seed: int | None) -> Mapping[str, FixedFeatures]:
        """What the frozen body says of every split; an encoder's is the same for each seed."""
        if seed is None:
            model = load_encoder(self.job.start, self.task, 0)
        else:
            model = make_twin(self.job.start, self.task, seed)
        if torch.cuda.is_available():
            model.cuda()
        frozen = self._frozen(model, 0)
        return {split: frozen.fixed(features) for split, features in self.encoded.items()}
