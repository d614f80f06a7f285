"""The training loop: one function of (settings, data, start) that any number of ranks give equally.

Per update: the global batch's counts are known first; each micro-batch's loss is its sums over
those counts; gradients add up over accumulation and ranks to those of one big batch. Checkpoints
restore weights, optimiser, generators and counters, so that a resumed run on one CPU process is the
uninterrupted one.
"""

import logging
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stages.core.errors import ClozeError
from stages.core.execution import Execution
from stages.core.logs import fields
from stages.core.nn.optimizer import BertAdam, clip_gradients, linear_schedule, parameter_groups
from stages.core.progress import Progress
from stages.pretraining import ranks
from stages.pretraining.batches import (
    Batch,
    Examples,
    PhaseSpan,
    global_batch,
    micro_batches,
    phase_spans,
    placed,
)
from stages.pretraining.objective import Objective, total_counts
from stages.pretraining.params import PretrainingParams
from stages.pretraining.sums import Sums

log = logging.getLogger(__name__)
SaveCheckpoint = Callable[[int, dict[str, Any], dict[str, float]], None]


class InterruptedTrainingError(ClozeError):
    """A signal asked for the end; a checkpoint was written."""

    exit_code = 143


class Trainer:
    """One training on this rank."""

    def __init__(
        self,
        params: PretrainingParams,
        objective: Objective,
        train: dict[int, Examples],
        validation: dict[int, Examples],
        execution: Execution,
    ) -> None:
        self.params, self.execution = params, execution
        self.device = ranks.device()
        # A model that transformers loaded is in evaluation mode: its dropout would stay off.
        self.objective = objective.to(self.device).train()
        self.module: nn.Module = self.objective
        if ranks.world_size() > 1:
            self.module = DistributedDataParallel(self.objective)
        self.train_examples, self.validation_examples = train, validation
        self.optimizer = _optimizer(params, self.objective, self.device)
        self.spans = phase_spans(params.phases, params.max_steps)
        self.step = 0
        self.num_tokens = 0
        self.curve: list[dict[str, float]] = []
        self._since_logged = Sums(self.objective.terms)
        self._since_evaluated = Sums(self.objective.terms)
        self._is_stopping = False

    def fit(self, report: Callable[[int, dict[str, float]], None], save: SaveCheckpoint) -> None:
        """Train from the current step to the last; `report` gets numbers, `save` checkpoints.

        Raises: InterruptedTrainingError: a SIGTERM or SIGINT came; the state was saved.
        """
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._stop)
        saved_at, tokens_before, logged_at = time.monotonic(), self.num_tokens, time.monotonic()
        interval = self.execution.log_interval_steps
        progress = Progress(
            "training", total=self.params.max_steps, unit="step", done=self.step, is_quiet=True
        )
        with progress:
            while self.step < self.params.max_steps:
                rate = self.update()
                if self.step % interval == 0 or self.step == self.params.max_steps:
                    now = time.monotonic()
                    means = self._since_logged.means()
                    tokens = ranks.sum_over_ranks({"n": float(self.num_tokens - tokens_before)})
                    means["learning_rate"] = rate
                    means["tokens_per_second"] = tokens["n"] / max(1e-9, now - logged_at)
                    tokens_before, logged_at = self.num_tokens, now
                    self._since_logged = Sums(self.objective.terms)
                    report(self.step, means)
                    progress.advance(0, f"loss {means['loss']:.3f}")
                progress.advance()
                self._evaluate_when_due(report)
                if self._must_save(saved_at):
                    save(self.step, self.state(), self.curve[-1] if self.curve else {})
                    saved_at = time.monotonic()
                if ranks.any_rank(self._is_stopping):
                    save(self.step, self.state(), {})
                    raise InterruptedTrainingError(
                        f"stopped by a signal at step {self.step}; run again to go on"
                    )

    def update(self) -> float:
        """One optimiser update over one global batch; returns its learning rate."""
        number, span = self._span()
        examples = self.train_examples[span.phase.max_seq_length]
        chosen = global_batch(
            len(examples.index),
            self.step - span.first_step,
            span.phase.global_batch_sequences,
            seed=self.params.seed,
            phase=number,
        )
        counts = total_counts(type(self.objective), examples.rows(chosen))
        pieces = list(
            micro_batches(
                chosen,
                rank=ranks.rank(),
                world_size=ranks.world_size(),
                micro_batch_sequences=self.execution.micro_batch_sequences,
            )
        )
        for piece in pieces:
            is_last = piece is pieces[-1]
            with self.module.no_sync() if self._must_not_sync(is_last) else nullcontext():
                loss = self._forward(examples.batch(piece), counts)
                # DDP averages over ranks; the counts are already global.
                (loss * ranks.world_size()).backward()
        rate = self.params.learning_rate * linear_schedule(
            self.step, self.params.num_warmup_steps, self.params.max_steps
        )
        clip_gradients(self.objective.parameters(), self.params.max_grad_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return rate

    def _must_not_sync(self, is_last: bool) -> bool:
        return ranks.world_size() > 1 and not is_last

    def _forward(self, batch: Batch, counts: dict[str, int]) -> Tensor:
        """Loss of a micro-batch as its part of the global batch's loss."""
        self.num_tokens += int(batch["num_tokens"])
        with self._autocast():
            terms = self.module(placed(batch, self.device))
        loss = torch.zeros((), device=self.device)
        for name, term in terms.items():
            loss = loss + self.objective.terms[name] * term.loss_sum / counts[name]
            for sums in (self._since_logged, self._since_evaluated):
                sums.add(name, term)
        return loss

    def _span(self) -> tuple[int, PhaseSpan]:
        for number, span in enumerate(self.spans):
            if span.first_step <= self.step < span.last_step:
                return number, span
        raise AssertionError(f"step {self.step} is in no phase")

    def _autocast(self) -> Any:
        if self.params.precision == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _evaluate_when_due(self, report: Callable[[int, dict[str, float]], None]) -> None:
        is_last = self.step == self.params.max_steps
        if self.step % self.params.eval_interval_steps and not is_last:
            return
        train = self._since_evaluated.means()
        self._since_evaluated = Sums(self.objective.terms)
        validation = self.evaluate()
        point = {"step": float(self.step)}
        point |= {f"train_{name}": round(value, 6) for name, value in train.items()}
        point |= {f"validation_{name}": round(value, 6) for name, value in validation.items()}
        self.curve.append(point)
        numbers = {name: value for name, value in point.items() if name.startswith("validation_")}
        report(self.step, numbers)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Mean losses and accuracies on the same validation sequences every time."""
        _, span = self._span() if self.step < self.params.max_steps else (0, self.spans[-1])
        examples = self.validation_examples[span.phase.max_seq_length]
        chosen = np.arange(min(len(examples.index), self.params.eval_sequences))
        self.objective.eval()
        sums = Sums(self.objective.terms)
        mine = np.array_split(chosen, ranks.world_size())[ranks.rank()]
        size = self.execution.micro_batch_sequences
        for start in range(0, len(mine), size):
            with self._autocast():
                terms = self.objective(
                    placed(examples.batch(mine[start : start + size]), self.device)
                )
            for name, term in terms.items():
                sums.add(name, term)
        self.objective.train()
        return sums.means()

    def state(self) -> dict[str, Any]:
        """What a resumed run needs beside the weights."""
        return {
            "step": self.step,
            "num_tokens": self.num_tokens,
            "optimizer": self.optimizer.state_dict(),
            "generators": ranks.generators(),
            "curve": self.curve,
            "since_evaluated": self._since_evaluated.values,
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; the weights are loaded by the caller."""
        self.step, self.num_tokens = state["step"], state["num_tokens"]
        self.optimizer.load_state_dict(state["optimizer"])
        ranks.restore_generators(state["generators"])
        self.curve = list(state["curve"])
        self._since_evaluated.values = dict(state["since_evaluated"])

    def _must_save(self, saved_at: float) -> bool:
        steps = self.execution.checkpoint_interval_steps
        if self.step == self.params.max_steps or (steps and self.step % steps == 0):
            return True
        is_due = time.monotonic() - saved_at >= self.execution.checkpoint_interval_seconds
        return ranks.any_rank(is_due)

    def _stop(self, signum: int, _frame: Any) -> None:
        log.warning("%s", fields("stopping", signal=signal.Signals(signum).name))
        self._is_stopping = True


def _optimizer(
    params: PretrainingParams, objective: Objective, device: torch.device
) -> torch.optim.Optimizer:
    groups = parameter_groups(objective, params.weight_decay)
    rate, betas, epsilon = params.learning_rate, params.adam_betas, params.adam_epsilon
    if params.optimizer == "bert-adam":
        return BertAdam(groups, lr=rate, betas=betas, eps=epsilon)
    is_fused = device.type in ("cpu", "cuda")
    return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=epsilon, fused=is_fused)
