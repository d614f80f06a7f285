"""One block of finished examples: their static masks if any, and the numbers that describe them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64, Shaped, UInt16, UInt32
from numpy import ndarray

from stages.core.examples import Sequences, assemble
from stages.core.masks.draw import draw_masks
from stages.core.masks.settings import MaskSettings, MaskVocabulary
from stages.core.token_store import TokenStore
from stages.masking.pairs import Instances

_BLOCK_TOKENS = 500_000
SEQUENCES_AT_ONCE = 512  # bounds the padded (B, S) arrays, which then stay in the cache


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
    positions: UInt16[ndarray, "M"]
    replacements: UInt32[ndarray, "M"]
    tally: dict[str, int]


@dataclass(frozen=True)
class Masking:
    """How the examples of one length and split are masked."""

    settings: MaskSettings
    max_predictions: int | None
    vocabulary: MaskVocabulary
    purpose: str
    is_static: bool
    """Whether masks are kept; else they are drawn while training, and only counted out here."""


def document_blocks(store: TokenStore) -> Iterator[tuple[int, int]]:
    """First and last + 1 document of blocks of whole documents of about _BLOCK_TOKENS tokens."""
    starts = store.document_starts
    first = 0
    while first < store.num_documents:
        reached = int(np.searchsorted(starts, starts[first] + _BLOCK_TOKENS))
        last = min(max(reached, first + 1), store.num_documents)
        yield first, last
        first = last


def mask_instances(
    store: TokenStore,
    instances: Instances,
    *,
    max_seq_length: int,
    special_token_ids: Mapping[str, int],
    masking: Masking,
) -> Masked:
    """Draw the static masks of these examples, a bounded number of sequences at a time."""
    parts = []
    tally = Tally()
    for start in range(0, len(instances.examples), SEQUENCES_AT_ONCE):
        rows = slice(start, start + SEQUENCES_AT_ONCE)
        sequences = assemble(
            store,
            instances.examples[rows],
            max_seq_length=max_seq_length,
            special_token_ids=special_token_ids,
        )
        names = (instances.visit, instances.document, instances.chunk)
        counters = tuple(name[rows, None] for name in names)
        masked = _mask(sequences, counters, instances.examples[rows], masking)
        tally.add(masked.tally)
        parts.append(masked)
        store.release()  # random segments touch all of it sooner or later
    return Masked(
        examples=instances.examples,
        num_masked=np.concatenate([part.num_masked for part in parts]),
        positions=np.concatenate([part.positions for part in parts]),
        replacements=np.concatenate([part.replacements for part in parts]),
        tally=tally.counts,
    )


def _mask(
    sequences: Sequences,
    counters: tuple[int | Int64[ndarray, "B 1"], ...],
    examples: Shaped[ndarray, "B"],
    masking: Masking,
) -> Masked:
    lengths = sequences.attention_mask.sum(axis=1)
    tally = {
        "examples": len(examples),
        "tokens": int(lengths.sum()),
        "random_next": int(examples["next_sentence_label"].sum()),
        "full_length": int((lengths == sequences.input_ids.shape[1]).sum()),
    }
    if not masking.is_static:
        return Masked(
            examples=examples,
            num_masked=np.zeros(len(examples), dtype=np.int64),
            positions=np.zeros(0, dtype=np.uint16),
            replacements=np.zeros(0, dtype=np.uint32),
            tally=tally,
        )
    masks = draw_masks(
        sequences,
        counters,
        settings=masking.settings,
        max_predictions=masking.max_predictions,
        vocabulary=masking.vocabulary,
        purpose=masking.purpose,
    )
    place = np.flatnonzero(masks.chosen)
    row = place // masks.chosen.shape[1]
    position = place - row * masks.chosen.shape[1]
    shown = masks.shown.reshape(-1)[place]
    tally |= {
        "masked_tokens": len(place),
        "shown_as_mask": int((shown == masking.vocabulary.mask_token_id).sum()),
        "shown_as_it_is": int((shown == sequences.input_ids.reshape(-1)[place]).sum()),
    }
    return Masked(
        examples=examples,
        num_masked=np.bincount(row, minlength=len(examples)),
        positions=position.astype(np.uint16),
        replacements=shown.astype(np.uint32),
        tally=tally,
    )


def describe(counts: Mapping[str, int]) -> dict[str, float]:
    """Shares and means of a tally, as the manifest and the report show them."""
    examples = max(1, counts["examples"])
    described = {
        "examples": counts["examples"],
        "tokens": counts["tokens"],
        "mean_length": round(counts["tokens"] / examples, 4),
        "full_length_share": round(counts["full_length"] / examples, 6),
        "random_next_share": round(counts["random_next"] / examples, 6),
    }
    if "masked_tokens" not in counts:
        return described
    masked = max(1, counts["masked_tokens"])
    random = counts["masked_tokens"] - counts["shown_as_mask"] - counts["shown_as_it_is"]
    return {
        **described,
        "masked_share": round(counts["masked_tokens"] / max(1, counts["tokens"]), 6),
        "shown_as_mask_share": round(counts["shown_as_mask"] / masked, 6),
        "shown_as_random_share": round(random / masked, 6),
        "shown_as_it_is_share": round(counts["shown_as_it_is"] / masked, 6),
    }
