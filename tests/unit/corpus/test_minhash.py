"""MinHash: signatures equal datasketch's, estimate similarity, and bands have the stated recall."""

import numpy as np
import pytest
from datasketch import MinHash

from stages.corpus.minhash import Bands, Signer, choose_bands
from stages.corpus.params import NearDuplicateParams
from stages.corpus.shingles import hash_runs

PARAMS = NearDuplicateParams(similarity_threshold=0.8, shingle_words=5, num_permutations=128)


def words(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 63, count).astype(np.uint64)


def test_a_signature_is_datasketchs_of_the_same_shingles_whatever_the_chunks():
    text = words(0, 5_000)
    reference = MinHash(128, seed=1, hashfunc=int)
    for value in np.unique(hash_runs(text, 5) >> np.uint64(32)).tolist():
        reference.update(value)
    assert np.array_equal(Signer(PARAMS).sign(text, 0), reference.hashvalues)


def test_the_share_of_equal_places_estimates_the_jaccard_similarity():
    common = words(1, 4_000)
    one = np.concatenate([common, words(2, 500)])
    other = np.concatenate([common, words(3, 500)])
    sets = [set(hash_runs(text, 5).tolist()) for text in (one, other)]
    exact = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    signer = Signer(PARAMS)
    estimate = (signer.sign(one, 0) == signer.sign(other, 0)).mean()
    assert exact == pytest.approx(0.8, abs=0.01)
    assert estimate == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 128) ** 0.5)


def test_documents_without_words_are_alike_only_if_their_fallback_is():
    signer, none = Signer(PARAMS), np.zeros(0, np.uint64)
    assert np.array_equal(signer.sign(none, 7), signer.sign(none, 7))
    assert (signer.sign(none, 7) != signer.sign(none, 8)).all()


def test_documents_shorter_than_a_shingle_are_told_apart():
    signer = Signer(PARAMS)
    assert (signer.sign(words(1, 2), 0) != signer.sign(words(2, 2), 0)).all()


@pytest.mark.parametrize(("threshold", "expected"), [(0.8, Bands(21, 6)), (0.5, Bands(42, 3))])
def test_bands_are_the_longest_that_find_99_percent_at_the_threshold(threshold, expected):
    found = choose_bands(threshold, 128)
    assert found == expected
    assert 1 - (1 - threshold**found.num_rows) ** found.num_bands >= 0.99
    longer = found.num_rows + 1
    assert 1 - (1 - threshold**longer) ** (128 // longer) < 0.99


def test_a_band_key_depends_on_exactly_its_rows():
    signatures = np.arange(12, dtype=np.uint32).reshape(2, 6)
    signatures[1] = [0, 1, 2, 9, 9, 9]
    keys = Bands(2, 3).keys(signatures)
    assert keys.shape == (2, 2)
    assert keys[0, 0] == keys[0, 1]
    assert keys[1, 0] != keys[1, 1]
