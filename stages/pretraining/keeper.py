"""What a training tells and keeps while it runs: numbers, checkpoints, and what went wrong.

Only the first rank writes; the others call the same and keep quiet, since checkpoints gather from
all of them.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stages.core.logs import fields
from stages.core.tracking.journal import RunJournal
from stages.pretraining import checkpoints, ranks
from stages.pretraining.adoption import tags
from stages.pretraining.trainer import DivergedTrainingError, Trainer

log = logging.getLogger(__name__)


@dataclass
class Keeper:
    """The journal and the checkpoints of one training."""

    trainer: Trainer
    journal: RunJournal
    folder: Path
    initialised: list[str]
    """Weights that the start lacked."""

    def resume(self, newest: checkpoints.Checkpoint) -> None:
        """Go on from a checkpoint, and say which logged steps are trained again."""
        state = newest.state()
        self.trainer.resume(state)
        self.initialised = state["initialised"]
        log.info("%s", fields("resumed", step=newest.step, progress=self.trainer.ledger.progress))
        if ranks.rank() == 0:
            again = self.journal.rolled_back(newest.step)
            if again:
                log.warning("%s", fields("steps are trained again", first=again[0], last=again[-1]))

    def tell_adopted(self, adopted: list[dict[str, Any]]) -> None:
        """Name the last adoption in the tracking run."""
        if adopted and ranks.rank() == 0:
            self.journal.tags(tags(adopted))

    def report(self, step: int, numbers: dict[str, float]) -> None:
        """Log numbers of a step."""
        if ranks.rank() == 0:
            self.journal.metrics(numbers, step)
            shown = {n: value for n, value in numbers.items() if not n.startswith("time_")}
            log.info("%s", fields("step", number=step, done=self.trainer.ledger.progress, **shown))

    def report_end(self, measured: dict[str, float]) -> None:
        """Log what was measured at the end, and what the training took."""
        spent = self.trainer.ledger.spent
        energy = {"energy_joules": spent.joules} if spent.joules else {}
        self.report(self.trainer.step, measured | {"minutes": spent.minutes} | energy)

    def save(self, step: int, state: dict[str, Any], numbers: dict[str, float]) -> None:
        """Write a checkpoint, tell the journal, and prune old ones."""
        if ranks.rank() != 0:
            return
        kept = {**state, "initialised": self.initialised}
        written = checkpoints.save(self.folder, step, self.trainer.objective.save, kept)
        metrics = {name: value for name, value in numbers.items() if name != "step"}
        self.journal.checkpoint(written.folder, step, metrics, written.content)
        for path in checkpoints.prune(written):
            self.journal.pruned(path)

    @contextmanager
    def keeping_what_diverged(self) -> Iterator[None]:
        """Keep the batch of a training that ends without a finite gradient."""
        try:
            yield
        except DivergedTrainingError as error:
            kept = self.folder / f"diverged-rank-{ranks.rank()}.pt"
            batches = [batch.inputs for batch in error.batches]
            torch.save({"step": self.trainer.step, "batches": batches}, kept)
            log.error("%s", fields("batch kept for a look", path=kept))
            raise
