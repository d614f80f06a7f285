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

from stages.core.artifacts import read_manifest, require_equal, staged_directory
from stages.core.errors import ArtifactError, ClozeError, SettingsError
from stages.core.execution import read_execution
from stages.core.logs import fields, set_up_logging
from stages.core.pinned import pinned_folder
from stages.core.settings import Checkpoint, load_section
from stages.core.token_store import SPLITS
from stages.core.tracking.journal import RunJournal
from stages.pretraining import checkpoints, endings, ranks
from stages.pretraining.adoption import adoptions
from stages.pretraining.batches import COMPARISON, Examples, open_examples
from stages.pretraining.export import export
from stages.pretraining.keeper import Keeper
from stages.pretraining.lease import lease
from stages.pretraining.objective import Objective, Vocabulary, load_objective
from stages.pretraining.params import DEMANDS, INPUTS, PretrainingParams
from stages.pretraining.parent import end_with_parent
from stages.pretraining.profiling import profiled
from stages.pretraining.trainer import Trainer
from stages.pretraining.weights import realign

log = logging.getLogger(__name__)
_HUB_FILES = ("config.json", "model*.safetensors*", "pytorch_model*.bin*")


def main() -> int:
    """Run this rank; exit codes as for every stage, 143 after a signal.

    Among several ranks an error of ours is noted for the launcher instead (see `endings`).
    """
    set_up_logging("pretraining")
    parser = argparse.ArgumentParser(prog="python -m stages.pretraining.worker")
    parser.add_argument("--params", type=Path, required=True)
    for name in (*INPUTS, "out", "checkpoints"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--run-key", required=True)
    arguments = parser.parse_args()
    end_with_parent()
    if endings.is_noted():
        return 0
    try:
        with endings.noting():
            _require_devices()
        with ranks.process_group(), endings.noting():
            _train_alone(arguments)
    except ClozeError as error:
        return 0 if endings.is_among_several() else error.exit_code
    except RuntimeError:  # torch's, where another rank has ended
        if not endings.is_noted():
            raise
    return 0


def _require_devices() -> None:
    """Refuse more processes on this machine than it has CUDA devices.

    Raises: SettingsError: a rank would find none.
    """
    wanted, found = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if torch.cuda.is_available() and wanted > found:
        raise SettingsError(
            f"environment: CLOZE_PROCESSES is {wanted}, expected at most the {found} CUDA devices "
            "of this machine; lower it, or set CUDA_VISIBLE_DEVICES= to train on the CPU"
        )


def _train_alone(arguments: argparse.Namespace) -> None:
    """Train while the first rank holds the lease on the checkpoints."""
    with ExitStack() as stack:
        if ranks.rank() == 0:
            is_patient = read_execution().waits_for_trainer
            stack.enter_context(lease(arguments.checkpoints, is_patient=is_patient))
        else:
            for name in (__name__, "stages"):
                logging.getLogger(name).setLevel(logging.WARNING)
        train(load_section(PretrainingParams, "pretraining", arguments.params), arguments)


def train(params: PretrainingParams, arguments: argparse.Namespace) -> None:
    """Train from scratch, from a start, or from the newest checkpoint; then export."""
    execution = read_execution()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", execution.workers)))
    disable_progress_bar()
    facts = _encoding_facts(arguments)
    # One rank looks: on a network disk the others may not see the newest one yet.
    newest = ranks.from_first(lambda: checkpoints.newest(arguments.checkpoints))
    torch.manual_seed(params.seed)
    objective, initialised = _objective(params, facts, newest)
    realign(objective)
    torch.manual_seed(params.seed + 1 + ranks.rank())
    trainer = Trainer(params, objective, _examples(params, arguments), execution)
    keeper = Keeper(trainer, RunJournal(arguments.run_key), arguments.checkpoints, initialised)
    if newest:
        keeper.resume(newest)
    adopted = adoptions(arguments.checkpoints)
    keeper.tell_adopted(adopted)
    with (
        keeper.keeping_what_diverged(),
        profiled(arguments.checkpoints, is_on=execution.is_profiled) as after_update,
    ):
        trainer.fit(keeper.report, keeper.save, after_update)
    validation = facts["splits"]["validation"]
    measured = trainer.finish(validation["tokens"] / max(1, validation["whitespace_words"]))
    keeper.report_end(measured)
    if ranks.rank() == 0:
        with staged_directory(arguments.out) as out:
            export(
                params,
                trainer,
                arguments.tokenizer,
                out,
                initialised=keeper.initialised,
                adopted=adopted,
                measured=measured,
            )


def _encoding_facts(arguments: argparse.Namespace) -> dict[str, Any]:
    """The encoding's manifest, which must be of the tokenizer's vocabulary."""
    facts = read_manifest(arguments.encoding, "encoding")
    tokenizer = read_manifest(arguments.tokenizer, "tokenizer")
    require_equal(
        f"{arguments.encoding}: vocab_size",
        facts["vocab_size"],
        tokenizer["vocab_size"],
        "run encoding again",
    )
    return facts


def _examples(
    params: PretrainingParams, arguments: argparse.Namespace
) -> dict[tuple[str, int], Examples]:
    """The examples of every length that a phase reads, and those of the comparison."""
    made = read_manifest(arguments.masking, "masking")
    _require_fitting(params, made, arguments.masking)
    lengths = sorted({phase.max_seq_length for phase in params.phases})
    wanted = [(split, length) for split in SPLITS for length in lengths]
    wanted.append((COMPARISON, made["comparison_length"]))
    reads = load_objective(params.objective).reads
    return {
        (split, length): open_examples(
            arguments.encoding, arguments.masking, length, split, reads=reads
        )
        for split, length in wanted
    }


def _require_fitting(params: PretrainingParams, made: dict[str, Any], where: Path) -> None:
    """Refuse examples and masks that the objective cannot be trained on.

    Raises: ArtifactError: naming what was found and what is expected.
    """
    demands = DEMANDS[params.objective]
    faults = []
    if made["examples"] not in demands.examples:
        faults.append(f"examples are {made['examples']}, expected {' or '.join(demands.examples)}")
    if made["unit"] not in demands.units:
        faults.append(f"masks are drawn by {made['unit']}, expected {' or '.join(demands.units)}")
    share = made["mask_settings"]["random_token_probability"]
    if share and not demands.allows_random_tokens:
        faults.append(f"masks show random words (probability {share:g}), expected none")
    if faults:
        raise ArtifactError(
            f"{where}: does not fit pretraining.objective {params.objective!r}: "
            f"{'; '.join(faults)}; change section masking and run dvc repro"
        )


def _objective(
    params: PretrainingParams, facts: dict[str, Any], newest: checkpoints.Checkpoint | None
) -> tuple[Objective, list[str]]:
    """The model to train: from the newest checkpoint, the stated start, or fresh weights."""
    kind = load_objective(params.objective)
    if newest:
        objective, missing = kind.load(newest.folder, params)
        if missing:
            raise ArtifactError(f"{newest.folder}: lacks weights {missing}; delete the checkpoint")
        return objective, []
    if isinstance(params.start, Checkpoint):
        folder = pinned_folder(params.start, section="pretraining", files=_HUB_FILES)
        objective, missing = kind.load(folder, params)
        _require_vocabulary(objective, facts["vocab_size"], params.start.checkpoint)
        if missing:
            log.warning("%s", fields("start lacks weights, made fresh", names=missing))
        return objective, missing
    vocabulary = Vocabulary(facts["vocab_size"], facts["special_token_ids"])
    return kind.from_scratch(params, vocabulary), []


def _require_vocabulary(objective: Objective, vocab_size: int, checkpoint: str) -> None:
    found = objective.encoder.config.vocab_size
    if found != vocab_size:
        raise SettingsError(
            f"params.yaml: pretraining.start {checkpoint} knows {found} words, the tokenizer has "
            f"{vocab_size}; set tokenizer.start to the same checkpoint"
        )


if __name__ == "__main__":
    sys.exit(main())
