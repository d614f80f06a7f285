"""Masked-data generation: token store -> example index with static masks.

Documents are cut into blocks, and each (length, split, pass, block) is one piece of work: pieces
run in parallel, are written in order, and are keyed so that neither blocks nor workers show. In
memory: a few blocks. Validation is masked once, with draws of its own, and never changes between
passes, so that its loss can be compared over a training and between trainings.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.artifacts import read_manifest, staged_directory, write_manifest
from stages.core.errors import ArtifactError
from stages.core.examples import EXAMPLE
from stages.core.execution import read_execution
from stages.core.logs import fields
from stages.core.masks.corruption import Corruption
from stages.core.npy import NpyWriter
from stages.core.parallel import ordered_map
from stages.core.progress import Progress
from stages.core.token_store import SPLITS, open_token_store, token_dtype
from stages.core.tracking.journal import RunJournal
from stages.masking.instances import Masked, MaskSettings, Tally, describe, mask_pairs
from stages.masking.pairs import PairSettings, segment_pairs
from stages.masking.params import MaskingParams, SequenceLength
from stages.masking.sample import log_sample

log = logging.getLogger(__name__)
_BLOCK_TOKENS = 500_000


@dataclass(frozen=True)
class Piece:
    """One piece of work: a block of documents in one pass, for one length and split."""

    encoding: Path
    split: str
    length: SequenceLength
    visit: int
    first_document: int
    last_document: int
    params: MaskingParams


def run(params: MaskingParams, paths: Mapping[str, Path], journal: RunJournal) -> None:
    """Generate the examples of every length and split into `paths["out"]`.

    Raises: ArtifactError: fewer than two documents in a split (a random next segment must come
    from another document), or the store is damaged. StorageError: the disk is full.
    """
    encoding = paths["encoding"]
    facts = read_manifest(encoding, "encoding")
    _require_two_documents(encoding, facts)
    statistics: dict[str, dict[str, dict[str, float]]] = {}
    with staged_directory(paths["out"]) as out:
        for length in params.lengths:
            statistics[str(length.max_seq_length)] = {
                split: _generate(params, length, split, encoding, out) for split in SPLITS
            }
        properties = {
            "examples": params.examples,
            "masks": params.masks,
            "lengths": [length.max_seq_length for length in params.lengths],
            "duplication_factor": params.duplication_factor,
            "whole_word_mask": params.whole_word_mask,
            "vocab_size": facts["vocab_size"],
            "special_token_ids": facts["special_token_ids"],
            "tokenizer_hash": facts["tokenizer_hash"],
            "statistics": statistics,
        }
        write_manifest(out, "masking", properties)
        log_sample(out, encoding, paths["tokenizer"], params.lengths[0].max_seq_length)
    for name, splits in statistics.items():
        journal.metrics({f"{name}/{key}": value for key, value in splits["train"].items()})


def _require_two_documents(encoding: Path, facts: Mapping[str, Any]) -> None:
    for split in SPLITS:
        found = facts["splits"][split]["documents"]
        if found < 2:
            raise ArtifactError(
                f"{encoding}: {split} holds {found} document(s), expected at least 2: the random "
                "segments of next sentence prediction come from other documents; give the corpus "
                "more documents, or set its document boundary (corpus.files.boundary)"
            )


def _generate(
    params: MaskingParams, length: SequenceLength, split: str, encoding: Path, out: Path
) -> dict[str, float]:
    """Write one length and split; returns its statistics."""
    pieces = list(_pieces(params, length, split, encoding))
    place = out / str(length.max_seq_length) / split
    place.mkdir(parents=True)
    replacements = token_dtype(read_manifest(encoding, "encoding")["vocab_size"])
    dtypes = {
        "examples": EXAMPLE,
        "mask_offsets": np.dtype("<i8"),
        "mask_positions": np.dtype("<u2"),
        "mask_replacements": replacements,
    }
    tally, offset = Tally(), 0
    label = f"{length.max_seq_length}/{split}"
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(NpyWriter(place / f"{name}.npy", dtype))
            for name, dtype in dtypes.items()
        }
        files["mask_offsets"].append(np.zeros(1, dtype=np.int64))
        progress = stack.enter_context(Progress(label, total=len(pieces), unit="block"))
        for masked in ordered_map(make_piece, pieces, workers=_workers(len(pieces))):
            offsets = offset + np.cumsum(masked.num_masked)
            files["examples"].append(masked.examples)
            files["mask_offsets"].append(offsets)
            files["mask_positions"].append(masked.positions)
            files["mask_replacements"].append(masked.replacements)
            offset += int(masked.num_masked.sum())
            tally.add(masked.tally)
            progress.advance()
    statistics = describe(tally.counts)
    log.info("%s", fields("masked", split=label, **statistics))
    return statistics


def _workers(num_pieces: int) -> int:
    return max(1, min(read_execution().workers, num_pieces // 2))


def _pieces(
    params: MaskingParams, length: SequenceLength, split: str, encoding: Path
) -> Iterator[Piece]:
    """Blocks of whole documents of about _BLOCK_TOKENS tokens, for every pass."""
    store = open_token_store(encoding, split)
    starts = np.asarray(store.sentences)[np.asarray(store.documents)]
    borders = [0]
    while borders[-1] < store.num_documents:
        reached = np.searchsorted(starts, starts[borders[-1]] + _BLOCK_TOKENS)
        borders.append(min(max(int(reached), borders[-1] + 1), store.num_documents))
    visits = params.duplication_factor if split == "train" else 1
    for visit in range(visits):
        for first, last in pairwise(borders):
            yield Piece(encoding, split, length, visit, first, last, params)


def make_piece(piece: Piece) -> Masked:
    """Pairs and masks of one piece; runs in a worker process."""
    params, length = piece.params, piece.length
    facts = read_manifest(piece.encoding, "encoding")
    store = open_token_store(piece.encoding, piece.split)
    pairs = segment_pairs(
        store,
        piece.first_document,
        piece.last_document,
        visit=piece.visit,
        settings=PairSettings(
            max_seq_length=length.max_seq_length,
            short_sequence_probability=params.short_sequence_probability,
            seed=params.seed,
            split=piece.split,
        ),
    )
    corruption = Corruption(
        mask_token_id=facts["special_token_ids"]["mask"],
        mask_token_probability=params.mask_token_probability,
        random_token_probability=params.random_token_probability,
        replacement_ids=np.load(piece.encoding / "replacement_ids.npy"),
    )
    settings = MaskSettings(
        mlm_probability=params.mlm_probability,
        max_predictions=length.max_predictions_per_sequence,
        is_whole_word=params.whole_word_mask,
        corruption=corruption,
        seed=params.seed,
        purpose=f"masks.{piece.split}.{length.max_seq_length}",
    )
    return mask_pairs(
        store,
        pairs,
        visit=piece.visit,
        max_seq_length=length.max_seq_length,
        special_token_ids=facts["special_token_ids"],
        settings=settings,
    )
