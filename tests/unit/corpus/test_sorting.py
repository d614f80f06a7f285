"""External sorting: any run length gives the same order, and pairs cover every group."""

import numpy as np
import pytest

from stages.corpus.sorting import equal_pairs, sorted_chunks


def write(tmp_path, keys):
    path = tmp_path / "keys.bin"
    np.asarray(keys, np.uint64).tofile(path)
    return path


@pytest.mark.parametrize("run_records", [1, 2, 7, 100, 10_000])
@pytest.mark.parametrize("num_values", [1, 3, 500, 1 << 40])
def test_chunks_are_the_stable_sort_whatever_the_run_length(tmp_path, run_records, num_values):
    keys = np.random.default_rng(num_values).integers(0, num_values, 300).astype(np.uint64)
    chunks = list(sorted_chunks(write(tmp_path, keys), run_records))
    order = np.argsort(keys, kind="stable")
    assert np.array_equal(np.concatenate([numbers for _, numbers in chunks]), order)
    assert np.array_equal(np.concatenate([found for found, _ in chunks]), keys[order])
    assert max(len(found) for found, _ in chunks) <= run_records
    assert [path.name for path in tmp_path.iterdir()] == ["keys.bin"]


def test_no_keys_give_no_chunk(tmp_path):
    assert list(sorted_chunks(write(tmp_path, []))) == []


@pytest.mark.parametrize("run_records", [1, 2, 3, 100])
def test_each_document_is_paired_with_the_first_and_the_one_before(tmp_path, run_records):
    path = write(tmp_path, [5, 9, 5, 7, 5, 9, 5])
    pairs = np.concatenate(list(equal_pairs(sorted_chunks(path, run_records))))
    expected = {(0, 2), (0, 4), (2, 4), (0, 6), (4, 6), (1, 5)}
    assert {tuple(pair) for pair in pairs.tolist()} == expected
    assert len(pairs) == len(expected)
