"""The corpus stage: source -> cleaned batches -> duplicates -> shards of train and validation.

Three passes, each streamed: workers clean batches and set them aside; records on disk are sorted
to find duplicates; what is left is written in source order. What is set aside are the shards of
`stages.core.shards`: they need about the corpus's own size below the state root while the stage
runs, and a stage that was killed does not clean them again.
"""

import logging
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from stages.core.artifacts import (
    MANIFEST,
    content_hash,
    read_manifest,
    staged_directory,
    write_manifest,
)
from stages.core.errors import ArtifactError
from stages.core.execution import read_execution
from stages.core.logs import fields
from stages.core.sentences import require_language
from stages.core.shards import KeptShards, kept_shards
from stages.core.tracking.journal import RunJournal
from stages.corpus.batch import Samples, add_sample, bands_of, start_worker, work_batch
from stages.corpus.contamination import build_index, evaluation_texts
from stages.corpus.documents import RawDocument, SourceFacts, batches, content_of
from stages.corpus.duplicates import EXACT, KEPT, NEAR, mark_duplicates
from stages.corpus.filters import EXACT_DUPLICATE, NEAR_DUPLICATE
from stages.corpus.params import CleaningParams, CorpusParams
from stages.corpus.records import RecordFiles
from stages.corpus.shards import ShardWriter, unpack
from stages.corpus.sources import read_source

log = logging.getLogger(__name__)
_LOG_INTERVAL_SECONDS = 10.0
_DUPLICATE_REASONS = {EXACT: EXACT_DUPLICATE, NEAR: NEAR_DUPLICATE}


@dataclass
class Totals:
    """What the passes count: everything that the manifest and the journal say."""

    kept: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    samples: Samples = field(default_factory=dict)
    batches: list[str] = field(default_factory=list)
    documents: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)


def run(params: CorpusParams, paths: Mapping[str, Path], journal: RunJournal) -> None:
    """Make the corpus artefact from the source that the settings choose.

    Raises: SettingsError: the language has no sentence rules. ArtifactError: the source or the
        tasks cannot be read, or fewer than two documents are left.
    """
    require_language(params.language)
    workers = read_execution().workers
    started = time.monotonic()
    totals, facts = Totals(), SourceFacts()
    with _shards(params, paths) as shards, staged_directory(paths["out"]) as folder:
        work = folder / "work"
        work.mkdir()
        near = params.cleaning.near_duplicates
        records = RecordFiles(
            work,
            num_permutations=near.num_permutations if near else 0,
            num_bands=bands_of(params.cleaning).num_bands,
        )
        ngrams = _write_ngrams(params.cleaning, paths["tasks"], totals, work)
        documents = read_source(params, facts, workers=workers)
        _clean(_plan(documents, totals), (params.cleaning, ngrams), records, totals, shards)
        _require_one_python(facts, paths["tasks"])
        log.info("%s", fields("cleaned", kept=totals.kept, **totals.dropped))
        verdicts = mark_duplicates(
            records,
            totals.kept,
            similarity_threshold=near.similarity_threshold if near else 1.0,
            shards=shards,
        )
        _set_splits(records, verdicts, totals)
        _write_shards(folder, shards, records, verdicts, totals, params.shard_size_bytes)
        del verdicts
        shutil.rmtree(work)
        write_manifest(folder, "corpus", _properties(params, facts, totals))
    _report(journal, totals, facts, seconds=time.monotonic() - started)


def _shards(params: CorpusParams, paths: Mapping[str, Path]) -> AbstractContextManager[KeptShards]:
    """The shards of these settings; what a source gives is in the names of its batches."""
    is_decontaminated = params.cleaning.decontamination is not None
    tasks = content_hash(paths["tasks"] / MANIFEST) if is_decontaminated else None
    return kept_shards("corpus", params, {"tasks": tasks})


def _require_one_python(facts: SourceFacts, tasks: Path) -> None:
    """Refuse an embedded corpus of other packages than those that the sample tasks were read from.

    Raises: ArtifactError: Python or a package has another version.
    """
    mine = facts.properties.get("versions")
    theirs = read_manifest(tasks, "tasks").get("versions") if mine else None
    if theirs and theirs != mine:
        raise ArtifactError(
            f"{tasks}: the sample tasks were read with {theirs}, but now there is {mine}; a corpus "
            "of other versions could hold their sentences: run dvc repro -f tasks"
        )


def _write_ngrams(cleaning: CleaningParams, tasks: Path, totals: Totals, work: Path) -> Path | None:
    if cleaning.decontamination is None:
        return None
    path = work / "ngrams.npy"
    hashes = build_index(evaluation_texts(tasks), cleaning.decontamination.ngram_words)
    np.save(path, hashes)
    totals.counts["evaluation_ngrams"] = len(hashes)
    return path


def _clean(
    plan: Iterable[tuple[str, list[RawDocument]]],
    worker: tuple[CleaningParams, Path | None],
    records: RecordFiles,
    totals: Totals,
    shards: KeptShards,
) -> None:
    """First pass: clean in parallel, and keep what later passes need."""
    results = shards.map(work_batch, plan, initializer=start_worker, initargs=worker)
    shown = time.monotonic()
    with records.appending() as writer:
        for result in results:
            totals.counts.update(result.counts)
            totals.dropped.update(result.dropped)
            for reason, samples in result.samples.items():
                for sample in samples:
                    add_sample(totals.samples, reason, sample["id"], sample["text"])
            if result.records is not None:
                writer.append(result.records)
            if time.monotonic() - shown >= _LOG_INTERVAL_SECONDS:
                shown = time.monotonic()
                log.info("%s", fields("cleaning", read=totals.counts["read_documents"]))
        totals.kept = writer.count


def _plan(
    documents: Iterable[RawDocument], totals: Totals
) -> Iterator[tuple[str, list[RawDocument]]]:
    """Batches, named by their place and by what they hold: a source may change behind its name."""
    for number, batch in enumerate(batches(documents)):
        totals.counts["read_documents"] += len(batch)
        totals.batches.append(f"batch-{number:06d}-{content_of(batch)}")
        yield totals.batches[-1], batch


def _set_splits(records: RecordFiles, verdicts: UInt8[ndarray, "n"], totals: Totals) -> None:
    """See that both splits get a document: a small corpus may hash all of its own into one.

    Raises: ArtifactError: fewer than two documents are left.
    """
    is_kept = np.asarray(verdicts == KEPT)
    kept = int(is_kept.sum())
    if kept < 2:
        raise ArtifactError(
            f"corpus: {kept} documents left of {totals.counts['read_documents']} after "
            f"cleaning, expected at least 2, one for train and one for validation; dropped: "
            f"{dict(totals.dropped)}, duplicates: {len(verdicts) - kept}. Add documents, "
            "lower corpus.cleaning.min_document_characters, or set where a document of a txt file "
            "ends (corpus.files.document_boundary)"
        )
    is_validation = records.is_validation()
    validation = int((is_validation & is_kept).sum())
    if validation == 0:
        is_validation[len(is_kept) - 1 - int(is_kept[::-1].argmax())] = True
        log.warning("no document hashed into validation: the last one was put there")
    elif validation == kept:
        is_validation[int(is_kept.argmax())] = False
        log.warning("no document hashed into train: the first one was put there")


def _write_shards(
    folder: Path,
    shards: KeptShards,
    records: RecordFiles,
    verdicts: UInt8[ndarray, "n"],
    totals: Totals,
    shard_size_bytes: int,
) -> None:
    """Last pass: write what stays, in source order, and count what was a duplicate."""
    is_validation = records.is_validation()
    number = 0
    with (
        ShardWriter(folder, "train", shard_size_bytes) as train,
        ShardWriter(folder, "validation", shard_size_bytes) as validation,
    ):
        for name in totals.batches:
            for document in unpack(shards.read(name).packed):
                verdict = int(verdicts[number])
                if verdict == KEPT:
                    (validation if is_validation[number] else train).write(document)
                else:
                    reason = _DUPLICATE_REASONS[verdict]
                    totals.dropped[reason] += 1
                    add_sample(totals.samples, reason, document.id, document.text)
                number += 1
    for split, writer in (("train", train), ("validation", validation)):
        totals.documents[split], totals.bytes[split] = writer.documents, writer.bytes


def _properties(params: CorpusParams, facts: SourceFacts, totals: Totals) -> dict[str, Any]:
    cleaning = params.cleaning
    counts = totals.counts
    return {
        "source": params.source,
        "language": params.language,
        "documents": totals.documents,
        "bytes": totals.bytes,
        "read_documents": counts["read_documents"],
        "dropped": dict(totals.dropped),
        "dropped_samples": totals.samples,
        "invalid_utf8_replaced": facts.replaced_bytes + counts["replaced_characters"],
        "cut_passages": {
            "documents": counts["cut_documents"],
            "paragraphs": counts["cut_paragraphs"],
            "bytes": counts["cut_bytes"],
        },
        "evaluation_ngrams": counts["evaluation_ngrams"],
        "cleaning": cleaning.model_dump(mode="json"),
        **facts.properties,
    }


def _report(journal: RunJournal, totals: Totals, facts: SourceFacts, *, seconds: float) -> None:
    """Log the outcome in one line, and give the numbers to the journal."""
    megabytes = sum(totals.bytes.values()) / 1e6
    journal.metrics(
        {
            **{f"documents.{split}": count for split, count in totals.documents.items()},
            **{f"bytes.{split}": size for split, size in totals.bytes.items()},
            **{f"dropped.{reason}": count for reason, count in totals.dropped.items()},
            "cut_passages.documents": totals.counts["cut_documents"],
            "cut_passages.bytes": totals.counts["cut_bytes"],
            "invalid_utf8_replaced": facts.replaced_bytes + totals.counts["replaced_characters"],
            "seconds": seconds,
            "megabytes_per_second": megabytes / max(seconds, 1e-9),
        }
    )
    counts = {**totals.documents, **totals.dropped}
    log.info("%s", fields("done", **counts, megabytes=megabytes, seconds=seconds))
