"""Masks of a batch of sequences: positions chosen by unit up to a budget, and what is shown there.

A pure function of the sequences, the settings and the counters that name each sequence: no batch,
worker or rank shows in a mask. Special tokens are never chosen; a sequence too short to mask has
none.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from stages.core.examples import Sequences
from stages.core.masks.corruption import Corruption, corrupt
from stages.core.masks.settings import MaskSettings, MaskVocabulary
from stages.core.masks.spans import choose_spans
from stages.core.masks.words import choose_tokens, choose_units, prediction_budget
from stages.core.random import Draws

RowDraws = Callable[[str], Draws]
"""The draws for one use (order, length, replacement, budget), a state for each sequence."""


@dataclass(frozen=True)
class Masks:
    """The masks of a batch."""

    chosen: Bool[ndarray, "B S"]
    """Positions to predict."""
    shown: Int64[ndarray, "B S"]
    """The input ids with chosen positions corrupted."""


def draw_masks(
    sequences: Sequences,
    counters: tuple[int | Int64[ndarray, "B 1"], ...],
    *,
    settings: MaskSettings,
    max_predictions: int | None,
    vocabulary: MaskVocabulary,
    purpose: str,
) -> Masks:
    """Draw the masks of these sequences; `counters` (say epoch, example) name each of them.

    By token, by whole word, or by span of whole words, where 80/10/10 is drawn once a span.
    Sources: Devlin et al. 2019, section 3.1; Liu et al. 2019; Joshi et al. 2020, section 3.1.
    """
    shape = (len(sequences.input_ids), 1)
    by_row = [np.broadcast_to(counter, shape) for counter in counters]

    def draws(use: str) -> Draws:
        return Draws(settings.seed, f"{purpose}.{use}").at(*by_row)

    budget = _budget(sequences, settings, max_predictions, draws)
    chosen = _choose(sequences, budget, settings, draws)
    shown = corrupt(
        sequences.input_ids,
        chosen,
        corruption=Corruption(
            mask_token_id=vocabulary.mask_token_id,
            mask_token_probability=settings.mask_token_probability,
            random_token_probability=settings.random_token_probability,
            replacement_ids=vocabulary.replacement_ids,
        ),
        draws=draws("replacement")[:, 0],
        is_by_run=settings.unit == "span",
    )
    return Masks(chosen=chosen, shown=shown)


def _choose(
    sequences: Sequences, budget: Int64[ndarray, "B"], settings: MaskSettings, draws: RowDraws
) -> Bool[ndarray, "B S"]:
    """Positions to predict, by the unit of the settings."""
    special, starts = sequences.special_tokens_mask, sequences.word_starts
    column = np.arange(special.shape[1])
    if settings.unit == "token":
        return choose_tokens(special, budget, draws("order").bits(column))
    order = draws("order").uniform(column)
    if settings.unit == "whole-word":
        return choose_units(starts, ~special, budget, order)
    assert settings.span_geometric_probability is not None
    assert settings.max_span_words is not None
    return choose_spans(
        starts,
        ~special,
        budget,
        order,
        draws("length").uniform(column),
        geometric_probability=settings.span_geometric_probability,
        max_words=settings.max_span_words,
    )


def _budget(
    sequences: Sequences, settings: MaskSettings, max_predictions: int | None, draws: RowDraws
) -> Int64[ndarray, "B"]:
    """Tokens to predict in each sequence."""
    lengths = sequences.attention_mask.sum(axis=1)
    cap = sequences.input_ids.shape[1] if max_predictions is None else max_predictions
    if settings.budget_rounding == "nearest":
        return prediction_budget(
            lengths, mlm_probability=settings.mlm_probability, max_predictions=cap
        )
    up = draws("budget").uniform(0)[:, 0]
    return np.minimum(cap, np.floor(lengths * settings.mlm_probability + up).astype(np.int64))
