"""Twenty updates of a tiny model over made-up text, through the trainer that training uses."""

import json
import sys
import tempfile
from pathlib import Path

import torch

from stages.core.execution import read_execution
from stages.core.settings import parse_section
from stages.core.tracking.journal import RunJournal
from stages.masking import run as masking
from stages.masking.params import MaskingParams
from stages.pretraining.batches import open_examples
from stages.pretraining.objective import Vocabulary, load_objective
from stages.pretraining.trainer import Trainer
from tests.builders import SPECIAL_TOKEN_IDS, random_documents, write_encoding, write_tokenizer
from tests.conformance.batches import OBJECTIVES, VOCAB, WIDTH, params_of

FILE = Path(__file__).with_name("curves.json")
MASKS = {
    "bert": {"examples": "segment-pairs", "masks": "static", "unit": "token"},
    "roberta": {"examples": "full-sentences", "masks": "dynamic", "unit": "token"},
    "spanbert": {
        "examples": "single",
        "masks": "dynamic",
        "unit": "span",
        "span": {"geometric_probability": 0.2, "max_words": 10},
    },
    "electra": {
        "examples": "single",
        "masks": "dynamic",
        "unit": "whole-word",
        "mask_token_probability": 0.85,
        "random_token_probability": 0.0,
    },
}
MASKING = {
    "lengths": [{"max_seq_length": WIDTH, "max_predictions_per_sequence": 5}],
    "duplication_factor": 1,
    "short_sequence_probability": 0.1,
    "mlm_probability": 0.15,
    "budget_rounding": "nearest",
    "mask_token_probability": 0.8,
    "random_token_probability": 0.1,
    "seed": 1,
}


def write_artefacts(root: Path, name: str) -> None:
    """Encoding, tokenizer and masking artefacts that fit an objective."""
    word_starts = [number % 3 != 0 for number in range(VOCAB)]
    documents = {
        "train": random_documents(0, 30, VOCAB),
        "validation": random_documents(1, 6, VOCAB),
    }
    write_encoding(root / "encoding", documents, VOCAB, word_starts)
    write_tokenizer(root / "tokenizer", VOCAB)
    settings = parse_section(MaskingParams, MASKING | MASKS[name], where="masking")
    paths = {stage: root / stage for stage in ("encoding", "tokenizer")}
    masking.run(settings, {**paths, "out": root / "masking"}, RunJournal("test"))


def trainer_of(root: Path, name: str) -> Trainer:
    """A trainer over the artefacts of `root`."""
    torch.set_num_threads(1)
    params = params_of(name)
    torch.manual_seed(params.seed)
    objective = load_objective(name).from_scratch(params, Vocabulary(VOCAB, SPECIAL_TOKEN_IDS))
    examples = {
        (split, WIDTH): open_examples(
            root / "encoding", root / "masking", WIDTH, split, reads=objective.reads
        )
        for split in ("train", "validation", "comparison")
    }
    return Trainer(params, objective, examples, read_execution())


def first_losses(name: str) -> list[float]:
    """The validation loss before the first and after each of the twenty updates."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_artefacts(root, name)
        trainer = trainer_of(root, name)
        losses = [trainer.evaluate()["validation_loss"]]
        while not trainer.ledger.is_spent:
            trainer.update()
            losses.append(trainer.evaluate()["validation_loss"])
        return [round(loss, 6) for loss in losses]


if __name__ == "__main__":
    FILE.write_text(json.dumps({name: first_losses(name) for name in OBJECTIVES}, indent=1) + "\n")
    sys.exit()
