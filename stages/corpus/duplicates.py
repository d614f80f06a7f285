"""Exact and near duplicates: of documents that are alike, the first in corpus order stays.

In: the record files. Out: one byte a document on disk, saying whether it is dropped and why. A
document is dropped where it is like an earlier one, be that one dropped or not: no clusters are
built, so nothing depends on the order in which pairs are met. Bands are searched in parallel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from numpy import ndarray

from stages.core.shards import KeptShards
from stages.corpus.records import RecordFiles
from stages.corpus.sorting import RUN_RECORDS, Chunk, equal_pairs, sorted_chunks

KEPT, EXACT, NEAR = 0, 1, 2
_PAIRS_AT_ONCE = 50_000
_LEAST_DOCUMENTS_FOR_POOL = 100_000  # below, starting processes costs more than the search


def mark_duplicates(
    records: RecordFiles,
    count: int,
    *,
    similarity_threshold: float,
    shards: KeptShards,
    run_records: int = RUN_RECORDS,
) -> UInt8[ndarray, "n"]:
    """Say for each document KEPT, EXACT or NEAR; the array is a file of the records' folder."""
    path = records.folder / "verdicts.bin"
    verdicts = np.memmap(path, np.uint8, "w+", shape=(max(1, count),))
    digests = records.digests()
    for pairs in equal_pairs(sorted_chunks(records.digest_keys, run_records)):
        is_same = (digests[pairs[:, 0]] == digests[pairs[:, 1]]).all(axis=1)
        verdicts[pairs[is_same, 1]] = EXACT
    verdicts.flush()
    plan = [
        (
            f"band-{number:03d}-{records.content}",
            BandSearch(records, number, path, similarity_threshold, run_records),
        )
        for number in range(records.num_bands)
    ]
    most_workers = 1 if count < _LEAST_DOCUMENTS_FOR_POOL else None
    for found in shards.map(search_band, plan, most_workers=most_workers):
        is_near = np.unpackbits(found, count=len(verdicts)).view(bool)
        verdicts[is_near & (verdicts == KEPT)] = NEAR
    return verdicts[:count]


@dataclass(frozen=True)
class BandSearch:
    """One band to search for near duplicates."""

    records: RecordFiles
    number: int
    verdicts: Path
    similarity_threshold: float
    run_records: int


def search_band(search: BandSearch) -> UInt8[ndarray, "n8"]:
    """Find near duplicates among documents with equal keys in one band.

    Returns: one bit a document, eight of them packed: whether it is like an earlier one.
    """
    verdicts = np.memmap(search.verdicts, np.uint8, "r")
    signatures = search.records.signatures()
    is_near = np.zeros(len(verdicts), dtype=bool)
    chunks = sorted_chunks(search.records.band(search.number), search.run_records)
    for pairs in equal_pairs(_without_exact(chunks, verdicts)):
        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            part = pairs[start : start + _PAIRS_AT_ONCE]
            part = part[~is_near[part[:, 1]]]
            is_like = are_similar(signatures, part, search.similarity_threshold)
            is_near[part[is_like, 1]] = True
    return np.packbits(is_near)


def _without_exact(chunks: Iterator[Chunk], verdicts: UInt8[ndarray, "n"]) -> Iterator[Chunk]:
    for keys, numbers in chunks:
        is_other = verdicts[numbers] != EXACT
        if is_other.any():
            yield keys[is_other], numbers[is_other]


def are_similar(
    signatures: ndarray, pairs: Int64[ndarray, "n 2"], similarity_threshold: float
) -> Bool[ndarray, "n"]:
    """Whether the signatures of each pair agree in at least the threshold's share of places."""
    agreement = (signatures[pairs[:, 0]] == signatures[pairs[:, 1]]).mean(axis=1)
    return agreement >= similarity_threshold
