"""Masked-data generation: token store -> example index, with masks where they are static.

Documents are cut into blocks, and each (length, split, block) is one piece of work, all passes over
it in one: pieces run in parallel and are written in order. Every draw is keyed by what it is for,
so that workers do not show. In memory: a few blocks. Validation is masked once, with draws of its
own, and never changes between passes, so that its loss can be compared over a training. The
comparison split is the same windows of validation text with the same masks for every setting, so
that trainings can be compared too.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.artifacts import (
    read_manifest,
    require_content,
    staged_directory,
    write_manifest,
)
from stages.core.errors import ArtifactError
from stages.core.examples import EXAMPLE
from stages.core.logs import fields
from stages.core.masks.settings import MaskSettings, MaskVocabulary
from stages.core.npy import NpyWriter
from stages.core.progress import Progress
from stages.core.shards import KeptShards, kept_shards
from stages.core.token_store import SPLITS, TokenStore, open_token_store, token_dtype
from stages.core.tracking.journal import RunJournal
from stages.masking.instances import (
    Masked,
    Masking,
    Tally,
    describe,
    document_blocks,
    mask_instances,
)
from stages.masking.packing import doc_sentences, full_sentences, single
from stages.masking.pairs import Instances, PairSettings, segment_pairs
from stages.masking.params import MaskingParams, SequenceLength
from stages.masking.sample import log_sample

log = logging.getLogger(__name__)
COMPARISON = "comparison"
# The same for every setting, so that masked-LM losses of all systems can be compared.
COMPARISON_MASKS = MaskSettings(
    unit="token",
    mlm_probability=0.15,
    budget_rounding="nearest",
    mask_token_probability=1.0,
    random_token_probability=0.0,
    span_geometric_probability=None,
    max_span_words=None,
    seed=0,
)


@dataclass(frozen=True)
class Piece:
    """One piece of work: a block of documents in all passes, for one length and split."""

    encoding: Path
    split: str
    length: SequenceLength
    first_document: int
    last_document: int
    params: MaskingParams


def run(params: MaskingParams, paths: Mapping[str, Path], journal: RunJournal) -> None:
    """Generate the examples of every length and split into `paths["out"]`.

    Raises: ArtifactError: fewer than two documents in a split (a random next segment must come
    from another document), or a file of the store is not what was written. StorageError: the
    disk is full.
    """
    encoding = paths["encoding"]
    require_content(encoding, "encoding")
    facts = read_manifest(encoding, "encoding")
    if params.examples == "segment-pairs":
        _require_two_documents(encoding, facts)
    shortest = min(params.lengths, key=lambda length: length.max_seq_length)
    statistics: dict[str, dict[str, dict[str, float]]] = {}
    inputs = {"encoding": facts["content"]}
    with kept_shards("masking", params, inputs) as shards, staged_directory(paths["out"]) as out:
        for length in params.lengths:
            splits = [*SPLITS, COMPARISON] if length is shortest else SPLITS
            statistics[str(length.max_seq_length)] = {
                split: _generate(
                    shards,
                    list(_pieces(params, length, split, encoding)),
                    out / str(length.max_seq_length) / split,
                    _dtypes(params, split, facts["vocab_size"]),
                )
                for split in splits
            }
        properties = {
            "examples": params.examples,
            "masks": params.masks,
            "unit": params.unit,
            "lengths": [length.max_seq_length for length in params.lengths],
            "max_predictions": {
                str(length.max_seq_length): length.max_predictions_per_sequence
                for length in params.lengths
            },
            "comparison_length": shortest.max_seq_length,
            "duplication_factor": params.duplication_factor,
            "mask_settings": _mask_settings(params).describe(),
            "vocab_size": facts["vocab_size"],
            "special_token_ids": facts["special_token_ids"],
            "tokenizer_hash": facts["tokenizer_hash"],
            "statistics": statistics,
        }
        write_manifest(out, "masking", properties)
        log_sample(out, encoding, paths["tokenizer"], params.lengths[0].max_seq_length)
    for name, measured in statistics.items():
        journal.metrics({f"{name}/{key}": value for key, value in measured["train"].items()})


def _mask_settings(params: MaskingParams) -> MaskSettings:
    return MaskSettings(
        unit=params.unit,
        mlm_probability=params.mlm_probability,
        budget_rounding=params.budget_rounding,
        mask_token_probability=params.mask_token_probability,
        random_token_probability=params.random_token_probability,
        span_geometric_probability=params.span.geometric_probability if params.span else None,
        max_span_words=params.span.max_words if params.span else None,
        seed=params.seed,
    )


def _require_two_documents(encoding: Path, facts: Mapping[str, Any]) -> None:
    for split in SPLITS:
        found = facts["splits"][split]["documents"]
        if found < 2:
            raise ArtifactError(
                f"{encoding}: {split} holds {found} document(s), expected at least 2: the random "
                "segments of next sentence prediction come from other documents; give the corpus "
                "more documents, or set its document boundary (corpus.files.document_boundary)"
            )


def _dtypes(params: MaskingParams, split: str, vocab_size: int) -> dict[str, np.dtype[Any]]:
    """The files of a split, and what they hold."""
    dtypes: dict[str, np.dtype[Any]] = {"examples": EXAMPLE}
    if _is_static(params, split):
        dtypes["mask_offsets"] = np.dtype("<i8")
        dtypes["mask_positions"] = np.dtype("<u2")
        dtypes["mask_replacements"] = token_dtype(vocab_size)
    return dtypes


def _generate(
    shards: KeptShards,
    pieces: list[tuple[str, Piece]],
    place: Path,
    dtypes: Mapping[str, np.dtype[Any]],
) -> dict[str, float]:
    """Write one length and split; returns its statistics."""
    place.mkdir(parents=True)
    tally, offset = Tally(), 0
    label = f"{place.parent.name}/{place.name}"
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(NpyWriter(place / f"{name}.npy", dtype))
            for name, dtype in dtypes.items()
        }
        if "mask_offsets" in files:
            files["mask_offsets"].append(np.zeros(1, dtype=np.int64))
        progress = stack.enter_context(Progress(label, total=len(pieces), unit="block"))
        for masked in shards.map(make_piece, pieces, most_workers=max(1, len(pieces) // 2)):
            files["examples"].append(masked.examples)
            if "mask_offsets" in files:
                files["mask_offsets"].append(offset + np.cumsum(masked.num_masked))
                files["mask_positions"].append(masked.positions)
                files["mask_replacements"].append(masked.replacements)
            offset += int(masked.num_masked.sum())
            tally.add(masked.tally)
            progress.advance()
    statistics = describe(tally.counts)
    log.info("%s", fields("masked", split=label, **statistics))
    return statistics


def _pieces(
    params: MaskingParams, length: SequenceLength, split: str, encoding: Path
) -> Iterator[tuple[str, Piece]]:
    """Blocks of whole documents, each with a name of its own."""
    store = open_token_store(encoding, _source_split(split))
    for first, last in document_blocks(store):
        name = f"{length.max_seq_length}-{split}-{first:010d}"
        yield name, Piece(encoding, split, length, first, last, params)


def _source_split(split: str) -> str:
    """The split of the corpus that a split's examples are made of."""
    return "validation" if split == COMPARISON else split


def _is_static(params: MaskingParams, split: str) -> bool:
    """Whether masks are kept: what is measured on never changes."""
    return params.masks == "static" or split != "train"


def make_piece(piece: Piece) -> Masked:
    """Examples and masks of one piece; runs in a worker process."""
    params, length, split = piece.params, piece.length, piece.split
    facts = read_manifest(piece.encoding, "encoding")
    store = open_token_store(piece.encoding, _source_split(split))
    vocabulary = MaskVocabulary(
        facts["special_token_ids"]["mask"], np.load(piece.encoding / "replacement_ids.npy")
    )
    if split == COMPARISON:
        settings, cap = COMPARISON_MASKS, None
    else:
        settings, cap = _mask_settings(params), length.max_predictions_per_sequence
    return mask_instances(
        store,
        _instances(store, piece),
        max_seq_length=length.max_seq_length,
        special_token_ids=facts["special_token_ids"],
        masking=Masking(
            settings=settings,
            max_predictions=cap,
            vocabulary=vocabulary,
            purpose=f"masks.{split}.{length.max_seq_length}",
            is_static=_is_static(params, split),
        ),
    )


def _instances(store: TokenStore, piece: Piece) -> Instances:
    """The examples of a piece, of the kind that the settings choose."""
    is_comparison = piece.split == COMPARISON
    short = 0.0 if is_comparison else piece.params.short_sequence_probability
    settings = PairSettings(
        max_seq_length=piece.length.max_seq_length,
        short_sequence_probability=short,
        seed=piece.params.seed,
        split=piece.split,
    )
    documents = (piece.first_document, piece.last_document)
    visits = range(piece.params.duplication_factor if piece.split == "train" else 1)
    kind = "single" if is_comparison else piece.params.examples
    if kind == "segment-pairs":
        return segment_pairs(store, *documents, visits=visits, settings=settings)
    if kind == "single":
        return single(store, *documents, visits=visits, settings=settings)
    packed = full_sentences if kind == "full-sentences" else doc_sentences
    return packed(store, *documents, visits=visits, max_seq_length=piece.length.max_seq_length)
