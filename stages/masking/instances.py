"""One block of finished examples: pairs, their static masks, and the numbers that describe them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64, Shaped
from numpy import ndarray

from stages.core.examples import Sequences, assemble
from stages.core.masks.corruption import Corruption, corrupt
from stages.core.masks.words import choose_units, prediction_budget
from stages.core.random import Draws
from stages.core.token_store import TokenStore
from stages.masking.pairs import Pairs

_SEQUENCES_AT_ONCE = 2048  # bounds the padded (B, S) arrays


@dataclass(frozen=True)
class MaskSettings:
    """What decides the masks of one sequence length."""

    mlm_probability: float
    max_predictions: int
    is_whole_word: bool
    corruption: Corruption
    seed: int
    purpose: str


@dataclass
class Tally:
    """Counts over examples; sums of integers, so that the order of blocks cannot show."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, other: Mapping[str, int]) -> None:
        """Add another tally's counts."""
        for name, count in other.items():
            self.counts[name] = self.counts.get(name, 0) + int(count)


@dataclass(frozen=True)
class Masked:
    """Examples with static masks: flat positions and replacements, and how many each has."""

    examples: Shaped[ndarray, "N"]
    num_masked: Int64[ndarray, "N"]
    positions: Int64[ndarray, "M"]
    replacements: Int64[ndarray, "M"]
    tally: dict[str, int]


def mask_pairs(
    store: TokenStore,
    pairs: Pairs,
    *,
    visit: int,
    max_seq_length: int,
    special_token_ids: Mapping[str, int],
    settings: MaskSettings,
) -> Masked:
    """Draw the static masks of these pairs, a bounded number of sequences at a time."""
    parts = []
    tally = Tally()
    for start in range(0, len(pairs.examples), _SEQUENCES_AT_ONCE):
        rows = slice(start, start + _SEQUENCES_AT_ONCE)
        sequences = assemble(
            store,
            pairs.examples[rows],
            max_seq_length=max_seq_length,
            special_token_ids=special_token_ids,
        )
        counters = (visit, pairs.document[rows, None], pairs.chunk[rows, None])
        masked = _mask(sequences, counters, pairs.examples[rows], settings)
        tally.add(masked.tally)
        parts.append(masked)
    return Masked(
        examples=pairs.examples,
        num_masked=_joined([part.num_masked for part in parts]),
        positions=_joined([part.positions for part in parts]),
        replacements=_joined([part.replacements for part in parts]),
        tally=tally.counts,
    )


def _mask(
    sequences: Sequences,
    counters: tuple[int | Int64[ndarray, "B 1"], ...],
    examples: Shaped[ndarray, "B"],
    settings: MaskSettings,
) -> Masked:
    candidates = ~sequences.special_tokens_mask
    lengths = sequences.attention_mask.sum(axis=1)
    budget = prediction_budget(
        lengths,
        mlm_probability=settings.mlm_probability,
        max_predictions=settings.max_predictions,
    )
    column = np.arange(candidates.shape[1])
    order = Draws(settings.seed, f"{settings.purpose}.order").uniform(*counters, column)
    starts = sequences.word_starts if settings.is_whole_word else candidates
    chosen = choose_units(starts, candidates, budget, order)
    replaced = corrupt(
        sequences.input_ids,
        chosen,
        corruption=settings.corruption,
        draws=Draws(settings.seed, f"{settings.purpose}.replacement"),
        counters=counters,
    )
    is_masked = chosen & (replaced == settings.corruption.mask_token_id)
    tally = {
        "examples": len(examples),
        "tokens": int(lengths.sum()),
        "masked_tokens": int(chosen.sum()),
        "shown_as_mask": int(is_masked.sum()),
        "shown_as_it_is": int((chosen & (replaced == sequences.input_ids)).sum()),
        "random_next": int(examples["next_sentence_label"].sum()),
        "full_length": int((lengths == candidates.shape[1]).sum()),
    }
    return Masked(
        examples=examples,
        num_masked=chosen.sum(axis=1),
        positions=np.nonzero(chosen)[1],
        replacements=replaced[chosen],
        tally=tally,
    )


def _joined(parts: list[Int64[ndarray, "n"]]) -> Int64[ndarray, "n"]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def describe(counts: Mapping[str, int]) -> dict[str, float]:
    """Shares and means of a tally, as the manifest and the report show them."""
    examples, masked = max(1, counts["examples"]), max(1, counts["masked_tokens"])
    random = counts["masked_tokens"] - counts["shown_as_mask"] - counts["shown_as_it_is"]
    return {
        "examples": counts["examples"],
        "tokens": counts["tokens"],
        "mean_length": round(counts["tokens"] / examples, 4),
        "full_length_share": round(counts["full_length"] / examples, 6),
        "masked_share": round(counts["masked_tokens"] / max(1, counts["tokens"]), 6),
        "shown_as_mask_share": round(counts["shown_as_mask"] / masked, 6),
        "shown_as_random_share": round(random / masked, 6),
        "shown_as_it_is_share": round(counts["shown_as_it_is"] / masked, 6),
        "random_next_share": round(counts["random_next"] / examples, 6),
    }
