"""The training loop: one function of (settings, data, start) that any number of ranks give equally.

Per update: the global batch's counts are known first; each micro-batch's loss is its sums over
those counts; gradients add up over accumulation and ranks to those of one big batch. Checkpoints
restore weights, optimiser, generators and counters, so that a resumed run on one CPU process is the
uninterrupted one.
"""

import logging
import math
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stages.core.errors import ArtifactError, ClozeError
from stages.core.execution import Execution
from stages.core.logs import fields
from stages.core.nn.body import compile_layers
from stages.core.nn.dropout import Noise, replace_dropout
from stages.core.nn.optimizer import clip_gradients
from stages.core.progress import Progress
from stages.pretraining import ranks
from stages.pretraining.batches import COMPARISON, Batch, Examples, global_batch, micro_batches
from stages.pretraining.budget import Ledger, Spent
from stages.pretraining.clock import DTYPES, Clock
from stages.pretraining.energy import make_meter
from stages.pretraining.evaluation import Measuring
from stages.pretraining.objective import Objective, Term, Work, divisors
from stages.pretraining.optimizers import make_optimizer, whole_state
from stages.pretraining.params import PretrainingParams
from stages.pretraining.prefetch import Prefetch
from stages.pretraining.sums import Sums

log = logging.getLogger(__name__)
SaveCheckpoint = Callable[[int, dict[str, Any], dict[str, float]], None]
_PROGRESS_PARTS = 1000
_MOST_SKIPPED = 5  # updates in a row without a finite gradient
_STATE = {"ledger", "optimizer", "generators", "curve", "since_evaluated", "skipped"}


class InterruptedTrainingError(ClozeError):
    """A signal asked for the end; a checkpoint was written."""

    exit_code = 143


class DivergedTrainingError(ClozeError):
    """Several updates in a row had no finite gradient; `batches` is the last one's."""

    def __init__(self, message: str, batches: list[Batch]) -> None:
        super().__init__(message)
        self.batches = batches


class Trainer:
    """One training on this rank."""

    def __init__(
        self,
        params: PretrainingParams,
        objective: Objective,
        examples: Mapping[tuple[str, int], Examples],
        execution: Execution,
    ) -> None:
        """`examples`: by split and length, the comparison's under its one length."""
        self.params, self.execution = params, execution
        self.device = ranks.device()
        # A model that transformers loaded is in evaluation mode: its dropout would stay off.
        self.objective = objective.to(self.device).train()
        self.noise = Noise(params.seed, ranks.rank())
        if self.device.type == "cpu":
            replace_dropout(self.objective, self.noise)
        else:
            compile_layers(self.objective)
        self.module: nn.Module = self.objective
        if ranks.world_size() > 1:
            self.module = DistributedDataParallel(self.objective)
        self.examples = examples
        self.comparison = next(e for (split, _), e in examples.items() if split == COMPARISON)
        self.optimizer = make_optimizer(
            params, self.objective, self.device, is_sharded=execution.shards_optimizer
        )
        self.ledger = Ledger(params, Spent())
        self.measuring = Measuring(
            self.objective, self.device, self._autocast, execution.micro_batch_sequences
        )
        self.clock = Clock(self.device, DTYPES[params.precision])
        self.meter = make_meter(self.device)
        self.prefetch = Prefetch(self._batches)
        self.num_skipped, self._skipped_in_a_row = 0, 0
        self.curve: list[dict[str, float]] = []
        self._since_logged = Sums(self.objective)
        self._since_evaluated = Sums(self.objective)
        self._is_stopping = False

    @property
    def step(self) -> int:
        """Updates that are done."""
        return self.ledger.spent.steps

    def fit(
        self,
        report: Callable[[int, dict[str, float]], None],
        save: SaveCheckpoint,
        after_update: Callable[[], None],
    ) -> None:
        """Train until the budget is spent; `report` gets numbers, `save` checkpoints.

        Raises: InterruptedTrainingError: a signal asked for it; the state was saved.
        DivergedTrainingError: several updates in a row had no finite gradient.
        """
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):  # the last is srun's
            signal.signal(signum, self._stop)
        saved_at = time.monotonic()
        self.clock.start(self.ledger.spent)
        done = int(self.ledger.progress * _PROGRESS_PARTS)
        progress = Progress("training", total=_PROGRESS_PARTS, unit="‰", done=done, is_quiet=True)
        with progress:
            while not self.ledger.is_spent:
                rate = self.update()
                after_update()
                note = ""
                if self.step % self.execution.log_interval_steps == 0 or self.ledger.is_spent:
                    means = self._since_logged.means() | self.clock.report(self.ledger.spent)
                    means |= {"learning_rate": rate, "skipped_updates": float(self.num_skipped)}
                    self._since_logged = Sums(self.objective)
                    with self.clock.part("tracking"):
                        report(self.step, means)
                    note = f"step {self.step} loss {means['loss']:.3f}"
                now_done = int(self.ledger.progress * _PROGRESS_PARTS)
                progress.advance(now_done - done, note)
                done = now_done
                with self.clock.part("evaluation"):
                    self._evaluate_when_due(report)
                if self._must_save(saved_at):
                    with self.clock.part("tracking"):
                        save(self.step, self.state(), self.curve[-1] if self.curve else {})
                    saved_at = time.monotonic()
                if ranks.any_rank(self._is_stopping):
                    save(self.step, self.state(), {})
                    raise InterruptedTrainingError(
                        f"stopped by a signal at step {self.step}; run again to go on"
                    )
        self.prefetch.stop()

    def update(self) -> float:
        """One optimiser update over one global batch; returns its learning rate."""
        started = time.monotonic()
        self.ledger.enter_update()
        with self.clock.part("data"):
            step_in_phase = self.step - self.ledger.phase_first_step
            batches = self.prefetch.take(self.ledger.phase, step_in_phase)
        with self.clock.part("communication"):
            # One exchange tells every rank the whole batch's counts, before any backward pass.
            mine = asdict(sum((batch.work for batch in batches), Work()))
            work = Work(**{name: int(n) for name, n in ranks.sum_over_ranks(mine).items()})
        counts = divisors(self.objective, work)
        terms = [self._backward(batches, piece, counts) for piece in range(len(batches))]
        rate = self.ledger.learning_rate()
        with self.clock.part("optimizer"):
            self._apply(rate, terms, batches)
        # On the clock every rank goes by the first one's, or they would end at different updates.
        seconds = time.monotonic() - started if ranks.rank() == 0 else 0.0
        used = {"seconds": seconds, "joules": self.meter.since_last()}
        self.ledger.book(work, flops=self.objective.flops(work), **ranks.sum_over_ranks(used))
        return rate

    def _backward(
        self, batches: list[Batch], piece: int, counts: dict[str, int]
    ) -> Mapping[str, Term]:
        """Add one micro-batch's gradient of the global batch's loss; returns its terms."""
        self.noise.start(self.step, piece)
        is_last = piece == len(batches) - 1
        with self.module.no_sync() if self._must_not_sync(is_last) else nullcontext():
            with self.clock.part("forward"), self._autocast():
                terms: dict[str, Term] = self.module(batches[piece].placed(self.device))
            with self.clock.part("backward"):
                # DDP averages over ranks; the counts are already global.
                (self._loss(terms, counts) * ranks.world_size()).backward()
        return terms

    def _apply(self, rate: float, terms: list[Mapping[str, Term]], batches: list[Batch]) -> None:
        """Clip and step, or skip the update where its gradient is not finite.

        Every rank holds the same summed gradient, so that all skip or none.
        """
        norm = clip_gradients(self.objective.parameters(), self.params.max_grad_norm)
        if math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            for sums in (self._since_logged, self._since_evaluated):
                for piece in terms:
                    sums.add(piece)
        self.optimizer.zero_grad(set_to_none=True)
        self._skipped_in_a_row = 0 if math.isfinite(norm) else self._skipped_in_a_row + 1
        if self._skipped_in_a_row:
            self.num_skipped += 1
            log.warning("%s", fields("update skipped", step=self.step, gradient_norm=norm))
        if self._skipped_in_a_row >= _MOST_SKIPPED:
            raise DivergedTrainingError(
                f"pretraining: no finite gradient in {_MOST_SKIPPED} updates in a row, up to step "
                f"{self.step}, at learning rate {rate:.3g}; lower pretraining.learning_rate or "
                "lengthen num_warmup_steps",
                batches,
            )

    def _batches(self, phase_number: int, step_in_phase: int) -> list[Batch]:
        """The micro-batches of an update that this rank computes."""
        phase = self.params.phases[phase_number]
        examples = self.examples["train", phase.max_seq_length]
        drawn = global_batch(
            len(examples.index),
            step_in_phase,
            phase.global_batch_sequences,
            seed=self.params.seed,
            phase=phase_number,
        )
        pieces = micro_batches(
            drawn,
            rank=ranks.rank(),
            world_size=ranks.world_size(),
            micro_batch_sequences=self.execution.micro_batch_sequences,
        )
        batches = [examples.batch(piece) for piece in pieces]
        return [batch.pinned() for batch in batches] if self.device.type == "cuda" else batches

    def _must_not_sync(self, is_last: bool) -> bool:
        return ranks.world_size() > 1 and not is_last

    def _loss(self, terms: Mapping[str, Term], counts: dict[str, int]) -> Tensor:
        """Loss of a micro-batch as its part of the global batch's loss."""
        loss = torch.zeros((), device=self.device)
        for name, term in terms.items():
            loss = loss + self.objective.terms[name].weight * term.loss_sum / counts[name]
        return loss

    def _autocast(self) -> Any:
        if self.params.precision == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _evaluate_when_due(self, report: Callable[[int, dict[str, float]], None]) -> None:
        if self.step % self.params.eval_interval_steps and not self.ledger.is_spent:
            return
        train = self._since_evaluated.means()
        self._since_evaluated = Sums(self.objective)
        spent = self.ledger.spent
        point = {"step": float(self.step), "tokens": float(spent.tokens), "flops": spent.flops}
        measured = {f"train_{name}": value for name, value in train.items()} | self.evaluate()
        self.curve.append(point | {name: round(value, 6) for name, value in measured.items()})
        report(self.step, {n: v for n, v in measured.items() if not n.startswith("train_")})

    def evaluate(self) -> dict[str, float]:
        """Losses on the same validation examples every time, the objective's and the common one."""
        length = self.params.phases[self.ledger.phase].max_seq_length
        sequences = self.params.eval_sequences
        self.objective.eval()
        means = self.measuring.term_means(self.examples["validation", length], sequences)
        measured = {f"validation_{name}": value for name, value in means.items()}
        measured["comparison_mlm_loss"] = self.measuring.comparison_loss(self.comparison, sequences)
        self.objective.train()
        return measured

    def finish(self, tokens_per_word: float) -> dict[str, float]:
        """What is measured once, at the end."""
        self.objective.eval()
        measured = self.measuring.pseudo_perplexity(
            self.comparison, self.params.eval_tokens, tokens_per_word=tokens_per_word
        )
        self.objective.train()
        return measured

    def state(self) -> dict[str, Any]:
        """What a resumed run needs beside the weights."""
        return {
            "ledger": self.ledger.state(),
            "optimizer": whole_state(self.optimizer),
            "generators": ranks.generators(),
            "curve": self.curve,
            "since_evaluated": ranks.sum_over_ranks(self._since_evaluated.values),
            "skipped": self.num_skipped,
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; the weights are loaded by the caller.

        Raises: ArtifactError: other code saved it, without what this one needs.
        """
        lacking = sorted(_STATE - state.keys())
        if lacking:
            raise ArtifactError(
                f"pretraining: the checkpoint lacks {lacking}, saved by other code; go on with the "
                "code that wrote it, or use its encoder/ as pretraining.start"
            )
        self.ledger.restore(state["ledger"])
        self.optimizer.load_state_dict(state["optimizer"])
        ranks.restore_generators(state["generators"])
        self.curve = list(state["curve"])
        if ranks.rank() == 0:  # the sums are all ranks', and are added up over them
            self._since_evaluated.values = dict(state["since_evaluated"])
        self.num_skipped = state["skipped"]

    def _must_save(self, saved_at: float) -> bool:
        steps = self.execution.checkpoint_interval_steps
        if self.ledger.is_spent or (steps and self.step % steps == 0):
            return True
        is_due = time.monotonic() - saved_at >= self.execution.checkpoint_interval_seconds
        return ranks.any_rank(is_due)

    def _stop(self, signum: int, _frame: Any) -> None:
        log.warning("%s", fields("stopping", signal=signal.Signals(signum).name))
        self._is_stopping = True
