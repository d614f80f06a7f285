"""Exact and near duplicates over record files, against a brute-force reading of the rule."""

import numpy as np
import pytest

from stages.core.shards import KeptShards
from stages.corpus.duplicates import EXACT, KEPT, NEAR, mark_duplicates
from stages.corpus.minhash import choose_bands
from stages.corpus.records import RecordArrays, RecordFiles

THRESHOLD, PERMUTATIONS = 0.8, 64


def record_files(folder, digests, signatures) -> RecordFiles:
    bands = choose_bands(THRESHOLD, PERMUTATIONS)
    folder.mkdir()
    files = RecordFiles(folder, num_permutations=PERMUTATIONS, num_bands=bands.num_bands)
    with files.appending() as writer:
        for part in np.array_split(np.arange(len(digests)), 3):
            writer.append(
                RecordArrays(
                    digests=digests[part],
                    is_validation=np.zeros(len(part), bool),
                    signatures=signatures[part],
                    band_keys=bands.keys(signatures[part]),
                )
            )
    return files


def families(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Documents in 30 families whose members differ in some places; some are exact copies."""
    rng = np.random.default_rng(seed)
    bases = rng.integers(0, 1 << 32, (30, PERMUTATIONS), dtype=np.uint32)
    digests = rng.integers(0, 1 << 63, (count, 2)).astype(np.uint64)
    signatures = bases[rng.integers(0, 30, count)]
    is_changed = rng.random((count, PERMUTATIONS)) < rng.choice([0.0, 0.05, 0.3], count)[:, None]
    noise = rng.integers(0, 1 << 32, (count, PERMUTATIONS), dtype=np.uint32)
    signatures = np.where(is_changed, noise, signatures)
    for number in range(0, count, 9):
        origin = rng.integers(0, number + 1)
        digests[number], signatures[number] = digests[origin], signatures[origin]
    return digests, signatures


def test_the_first_of_a_family_stays_and_close_members_go(tmp_path):
    digests, signatures = families(1, 300)
    files = record_files(tmp_path / "a", digests, signatures)
    shards = KeptShards(tmp_path / "shards")
    found = mark_duplicates(files, 300, similarity_threshold=THRESHOLD, shards=shards)
    copies = {tuple(d): i for i, d in reversed(list(enumerate(digests.tolist())))}
    exact = np.array([copies[tuple(d)] != i for i, d in enumerate(digests.tolist())])
    assert np.array_equal(np.asarray(found) == EXACT, exact)
    alike = (signatures[:, None] == signatures[None]).mean(axis=2) >= THRESHOLD
    has_earlier = np.tril(alike, -1)[:, ~exact].any(axis=1)
    is_near = np.asarray(found) == NEAR
    assert not (is_near & ~has_earlier).any(), "dropped although like no earlier document"
    wanted = has_earlier & ~exact
    assert is_near[wanted].mean() > 0.97, "bands promise 99 % at the threshold, more above it"
    assert (np.asarray(found) == KEPT).any()


@pytest.mark.parametrize(
    ("run_records", "workers"),
    [(3, 1), (50, 1), (200, 1), pytest.param(50, 2, marks=pytest.mark.slow)],
)
def test_run_length_and_workers_do_not_show(tmp_path, run_records, workers, monkeypatch):
    monkeypatch.setattr("stages.corpus.duplicates._LEAST_DOCUMENTS_FOR_POOL", 0)
    monkeypatch.setenv("CLOZE_WORKERS", str(workers))
    digests, signatures = families(2, 200)
    reference = mark_duplicates(
        record_files(tmp_path / "a", digests, signatures),
        200,
        similarity_threshold=THRESHOLD,
        shards=KeptShards(tmp_path / "a-shards"),
    )
    found = mark_duplicates(
        record_files(tmp_path / "b", digests, signatures),
        200,
        similarity_threshold=THRESHOLD,
        shards=KeptShards(tmp_path / "b-shards"),
        run_records=run_records,
    )
    assert np.array_equal(found, reference)
    assert {KEPT, EXACT, NEAR} == set(np.asarray(found).tolist())


def test_equal_halves_of_a_digest_are_no_copy(tmp_path):
    digests = np.array([[1, 2], [1, 3], [1, 2]], np.uint64)
    signatures = np.arange(3 * PERMUTATIONS, dtype=np.uint32).reshape(3, PERMUTATIONS)
    files = record_files(tmp_path / "a", digests, signatures)
    shards = KeptShards(tmp_path / "shards")
    found = mark_duplicates(files, 3, similarity_threshold=THRESHOLD, shards=shards)
    assert found.tolist() == [KEPT, KEPT, EXACT]
