"""Batches and settings for tests of objectives, built by the code that training uses."""

import numpy as np
import torch

from stages.core.examples import Sequences
from stages.core.masks.draw import draw_masks
from stages.core.masks.settings import MaskSettings, MaskVocabulary
from stages.core.random import Draws
from stages.core.settings import parse_section
from stages.pretraining.batches import Batch, build_batch
from stages.pretraining.objective import Objective, Vocabulary, load_objective
from stages.pretraining.params import PretrainingParams
from tests.builders import FIRST_WORD_ID, SPECIAL_TOKEN_IDS

VOCAB = 60
WIDTH = 24
SETTINGS = {
    "start": "scratch",
    "objective": "bert",
    "model": {
        "size": "tiny",
        "overrides": {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32},
        "hidden_dropout_probability": 0.0,
        "attention_dropout_probability": 0.0,
    },
    "phases": [{"max_seq_length": WIDTH, "share_of_budget": 1.0, "global_batch_sequences": 8}],
    "budget": {"unit": "steps", "amount": 20},
    "optimizer": "adamw",
    "learning_rate": 5e-3,
    "num_warmup_steps": 2,
    "weight_decay": 0.01,
    "adam_betas": [0.9, 0.999],
    "adam_epsilon": 1e-6,
    "max_grad_norm": 1.0,
    "precision": "float32",
    "eval_interval_steps": 10,
    "eval_sequences": 16,
    "eval_tokens": 40,
    "seed": 1,
}
ELECTRA = {"generator_hidden_fraction": 0.5, "embedding_size": 8, "detection_weight": 50.0}
OBJECTIVES = ("bert", "roberta", "spanbert", "electra")


def params_of(name: str, **changes) -> PretrainingParams:
    block = {"electra": ELECTRA} if name == "electra" else {}
    given = {**SETTINGS, "objective": name, **block, **changes}
    return parse_section(PretrainingParams, given, where="pretraining")


def objective_of(name: str, dtype=torch.float64, seed=0, **changes) -> Objective:
    torch.manual_seed(seed)
    vocabulary = Vocabulary(VOCAB, SPECIAL_TOKEN_IDS)
    return load_objective(name).from_scratch(params_of(name, **changes), vocabulary).to(dtype)


def sequences_of(size=6, seed=0, has_pairs=True, shortest=10) -> Sequences:
    """Sequences of random lengths, as pairs or single, over words 5 to VOCAB - 1."""
    generator = np.random.default_rng(seed)
    column = np.arange(WIDTH)
    lengths = generator.integers(shortest, WIDTH + 1, size)[:, None]
    border = lengths // 2 if has_pairs else lengths
    is_special = (column == 0) | (column == border) | (column >= lengths - 1)
    ids = generator.integers(FIRST_WORD_ID, VOCAB, (size, WIDTH))
    ids[is_special] = SPECIAL_TOKEN_IDS["sep"]
    ids[:, 0] = SPECIAL_TOKEN_IDS["cls"]
    ids[column >= lengths] = SPECIAL_TOKEN_IDS["pad"]
    return Sequences(
        input_ids=ids,
        token_type_ids=((column > border) & (column < lengths)).astype(np.int64),
        attention_mask=column < lengths,
        special_tokens_mask=is_special,
        word_starts=~is_special,
    )


def batch_of(
    size=6, seed=0, has_pairs=True, unit="token", rows=None, shortest=10, reads=("masked_index",)
) -> Batch:
    """A masked batch; `rows` takes a slice of it, with the masks that the whole would have."""
    sequences = sequences_of(size, seed, has_pairs, shortest)
    number = np.arange(size)[:, None]
    if rows is not None:
        sequences = Sequences(**{name: value[rows] for name, value in vars(sequences).items()})
        number = number[rows]
    settings = MaskSettings(
        unit=unit,
        mlm_probability=0.25,
        budget_rounding="nearest",
        mask_token_probability=0.85,
        random_token_probability=0.0,
        span_geometric_probability=0.2 if unit == "span" else None,
        max_span_words=4 if unit == "span" else None,
        seed=seed,
    )
    vocabulary = MaskVocabulary(SPECIAL_TOKEN_IDS["mask"], np.arange(FIRST_WORD_ID, VOCAB))
    counters = (np.zeros_like(number), number)
    masks = draw_masks(
        sequences,
        counters,
        settings=settings,
        max_predictions=None,
        vocabulary=vocabulary,
        purpose="test",
    )
    draws = Draws(seed, "sampling").uniform(*counters, np.arange(WIDTH))
    label = (number[:, 0] % 2).astype(np.int64)
    return build_batch(
        sequences, masks, sampling_draws=draws, next_sentence_label=label, reads=reads
    )


def starts_of(inputs) -> torch.Tensor:
    """Where each packed sequence begins, and where the last one ends (B + 1)."""
    return torch.cat([inputs["first_index"], torch.tensor([len(inputs["input_ids"])])])


def padded(inputs) -> dict[str, torch.Tensor]:
    """A packed batch as transformers is given it: (B, S), and masked_index into B * S."""
    starts = starts_of(inputs)
    width = int(starts.diff().max())
    column = torch.arange(width)
    is_token = column < starts.diff()[:, None]
    place = torch.where(is_token, starts[:-1, None] + column, 0)
    grid = {
        name: torch.where(is_token, inputs[name][place], 0)
        for name in ("input_ids", "token_type_ids")
    }
    sequence = torch.searchsorted(starts, inputs["masked_index"], right=True) - 1
    masked_index = sequence * width + inputs["masked_index"] - starts[sequence]
    return {**inputs, **grid, "attention_mask": is_token, "masked_index": masked_index}


def total_loss(objective: Objective, terms) -> torch.Tensor:
    return sum(
        objective.terms[name].weight * term.loss_sum / term.count for name, term in terms.items()
    )
