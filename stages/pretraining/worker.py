"""One rank of a training: opens the data, trains or goes on, and rank 0 exports the encoder."""

import argparse
import logging
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from stages.core.artifacts import read_manifest, require_equal
from stages.core.errors import ClozeError, SettingsError
from stages.core.execution import read_execution
from stages.core.logs import fields, set_up_logging
from stages.core.pinned import pinned_folder
from stages.core.settings import Checkpoint, load_section
from stages.core.tracking.journal import RunJournal
from stages.pretraining import checkpoints, ranks
from stages.pretraining.architecture import architecture
from stages.pretraining.batches import open_examples
from stages.pretraining.export import export
from stages.pretraining.objective import Objective, load_objective
from stages.pretraining.params import PretrainingParams
from stages.pretraining.trainer import Trainer

log = logging.getLogger(__name__)
_HUB_FILES = ("config.json", "model*.safetensors*", "pytorch_model*.bin*")


def main() -> int:
    """Run this rank; exit codes as for every stage, 143 after a signal."""
    set_up_logging("pretraining")
    parser = argparse.ArgumentParser(prog="python -m stages.pretraining.worker")
    parser.add_argument("--params", type=Path, required=True)
    for name in ("encoding", "masking", "tokenizer", "out", "checkpoints"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--run-key", required=True)
    arguments = parser.parse_args()
    try:
        with ExitStack() as stack:
            stack.enter_context(ranks.process_group())
            if ranks.rank() == 0:
                stack.enter_context(checkpoints.lease(arguments.checkpoints))
            else:
                logging.getLogger("stages").setLevel(logging.WARNING)
            train(load_section(PretrainingParams, "pretraining", arguments.params), arguments)
    except ClozeError as error:
        log.error("%s", error)
        return error.exit_code
    return 0


def train(params: PretrainingParams, arguments: argparse.Namespace) -> None:
    """Train from scratch, from a start, or from the newest checkpoint; then export."""
    execution = read_execution()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", execution.workers)))
    facts = read_manifest(arguments.encoding, "encoding")
    tokenizer = read_manifest(arguments.tokenizer, "tokenizer")
    require_equal(
        f"{arguments.encoding}: vocab_size",
        facts["vocab_size"],
        tokenizer["vocab_size"],
        "run encoding again",
    )
    disable_progress_bar()
    journal = RunJournal(arguments.run_key)
    newest = checkpoints.newest(arguments.checkpoints)
    torch.manual_seed(params.seed)
    objective, initialised = _objective(params, facts, newest)
    torch.manual_seed(params.seed + 1 + ranks.rank())
    lengths = sorted({phase.max_seq_length for phase in params.phases})
    opened = {
        split: {
            length: open_examples(arguments.encoding, arguments.masking, length, split)
            for length in lengths
        }
        for split in ("train", "validation")
    }
    trainer = Trainer(params, objective, opened["train"], opened["validation"], execution)
    if newest:
        trainer.resume(newest.state())
        log.info("%s", fields("resumed", step=newest.step, of=params.max_steps))

    def report(step: int, numbers: dict[str, float]) -> None:
        if ranks.rank() == 0:
            journal.metrics(numbers, step)
            log.info("%s", fields("step", number=step, of=params.max_steps, **numbers))

    def save(step: int, state: dict[str, Any], numbers: dict[str, float]) -> None:
        if ranks.rank() == 0:
            state["initialised"] = initialised
            _save(arguments.checkpoints, step, trainer, state, numbers, journal)

    if params.max_steps:
        trainer.fit(report, save)
    if ranks.rank() == 0:
        export(params, trainer, arguments.tokenizer, arguments.out, initialised=initialised)


def _objective(
    params: PretrainingParams, facts: dict[str, Any], newest: checkpoints.Checkpoint | None
) -> tuple[Objective, list[str]]:
    """The model to train: from the newest checkpoint, the stated start, or fresh weights."""
    kind: Any = load_objective(params.objective)
    if newest:
        return kind.from_checkpoint(newest.encoder)[0], newest.state()["initialised"]
    if isinstance(params.start, Checkpoint):
        folder = pinned_folder(params.start, section="pretraining", files=_HUB_FILES)
        objective, missing = kind.from_checkpoint(folder)
        _require_vocabulary(objective, facts["vocab_size"], params.start.checkpoint)
        if missing:
            log.warning("%s", fields("start lacks weights, made fresh", names=missing))
        return objective, missing
    longest = max(phase.max_seq_length for phase in params.phases)
    shape = architecture(params.model, longest_sequence=longest)
    special = facts["special_token_ids"]
    vocabulary = {"vocab_size": facts["vocab_size"], "pad_token_id": special["pad"]}
    return kind.from_scratch({**shape, **vocabulary}), []


def _require_vocabulary(objective: Objective, vocab_size: int, checkpoint: str) -> None:
    found = objective.exported.config.vocab_size
    if found != vocab_size:
        raise SettingsError(
            f"params.yaml: pretraining.start {checkpoint} knows {found} words, the tokenizer has "
            f"{vocab_size}; set tokenizer.start to the same checkpoint"
        )


def _save(
    folder: Path,
    step: int,
    trainer: Trainer,
    state: dict[str, Any],
    numbers: dict[str, float],
    journal: RunJournal,
) -> None:
    """Write a checkpoint, tell the journal, and prune old ones."""
    written = checkpoints.save(folder, step, trainer.objective.exported.save_pretrained, state)
    metrics = {name: value for name, value in numbers.items() if name != "step"}
    journal.checkpoint(written.folder, step, metrics, written.content)
    for path in checkpoints.prune(folder):
        journal.pruned(path)


if __name__ == "__main__":
    sys.exit(main())
