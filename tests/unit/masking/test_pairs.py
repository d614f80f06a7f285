"""Segment pairs: equal to the original algorithm written out as a loop, and its statistics."""

import numpy as np
import pytest

from stages.core.token_store import TokenStore, open_token_store
from stages.masking.pairs import PairSettings, is_within_one_document, segment_pairs
from tests.builders import random_documents, write_encoding

VOCAB = 200


def store_of(tmp_path, documents) -> TokenStore:
    write_encoding(tmp_path, {"train": documents, "validation": documents[:2]}, VOCAB)
    return open_token_store(tmp_path, "train")


def settings(length=32, short=0.1, seed=1) -> PairSettings:
    return PairSettings(length, short, seed, "train")


def joined(sentences):
    return [token for sentence in sentences for token in sentence]


def literal_pairs(documents, visit, options):
    """create_instances_from_document, sentence by sentence, with the same keyed draws.

    Yields (document, chunk, A before truncation, B before truncation, A, B lengths, label).
    """
    limit = options.max_num_tokens
    for number, sentences in enumerate(documents):
        target = limit
        if options.draws("is_short").uniform(visit, number) < options.short_sequence_probability:
            target = 2 + int(options.draws("short").integers(limit - 1, visit, number))
        position = chunk = 0
        while position < len(sentences):
            stop, length = position, 0
            while stop < len(sentences) and length < target:
                length += len(sentences[stop])
                stop += 1
            size = stop - position
            key = (visit, number, chunk)
            a_end = 1 if size == 1 else 1 + int(options.draws("split").integers(size - 1, *key))
            a = joined(sentences[position : position + a_end])
            is_random = size == 1 or options.draws("is_random").uniform(*key) < 0.5
            if is_random:
                other = int(options.draws("document").integers(len(documents) - 1, *key))
                other += other >= number
                first = int(options.draws("sentence").integers(len(documents[other]), *key))
                b: list[int] = []
                for sentence in documents[other][first:]:
                    b = b + sentence
                    if len(b) >= target - len(a):
                        break
            else:
                b = joined(sentences[position + a_end : stop])
            a_kept, b_kept = len(a), len(b)
            while a_kept + b_kept > limit:
                if a_kept > b_kept:
                    a_kept -= 1
                else:
                    b_kept -= 1
            yield number, chunk, a, b, a_kept, b_kept, int(is_random)
            position += a_end if is_random else size
            chunk += 1


@pytest.mark.parametrize("length", [8, 32, 128])
@pytest.mark.parametrize("short", [0.0, 0.1, 1.0])
def test_pairs_equal_the_original_algorithm(tmp_path, length, short):
    documents = random_documents(0, 30, VOCAB)
    store = store_of(tmp_path, documents)
    options = settings(length, short)
    pairs = segment_pairs(store, 0, 30, visits=range(2, 3), settings=options)
    expected = list(literal_pairs(documents, 2, options))
    assert len(pairs.examples) == len(expected)
    for example, document, chunk, wanted in zip(
        pairs.examples, pairs.document, pairs.chunk, expected, strict=True
    ):
        number, place, a, b, a_kept, b_kept, label = wanted
        assert (document, chunk) == (number, place)
        assert example["next_sentence_label"] == label
        got_a = store.tokens[example["a_start"] :][: example["a_length"]].tolist()
        got_b = store.tokens[example["b_start"] :][: example["b_length"]].tolist()
        assert (len(got_a), len(got_b)) == (a_kept, b_kept)
        assert got_a in [a[cut : cut + a_kept] for cut in range(len(a) - a_kept + 1)]
        assert got_b in [b[cut : cut + b_kept] for cut in range(len(b) - b_kept + 1)]


def test_blocks_of_documents_do_not_show(tmp_path):
    store = store_of(tmp_path, random_documents(1, 20, VOCAB))
    whole = segment_pairs(store, 0, 20, visits=range(1), settings=settings())
    parts = [
        segment_pairs(store, n, n + 5, visits=range(1), settings=settings()) for n in (0, 5, 10, 15)
    ]
    assert np.array_equal(whole.examples, np.concatenate([part.examples for part in parts]))


def test_passes_differ(tmp_path):
    store = store_of(tmp_path, random_documents(1, 20, VOCAB))
    first, second = (
        segment_pairs(store, 0, 20, visits=range(n, n + 1), settings=settings()) for n in (0, 1)
    )
    assert not np.array_equal(first.examples, second.examples)


def test_a_random_segment_never_comes_from_the_same_document(tmp_path):
    store = store_of(tmp_path, random_documents(2, 40, VOCAB))
    pairs = segment_pairs(store, 0, 40, visits=range(1), settings=settings())
    is_random = pairs.examples["next_sentence_label"] == 1
    assert not is_within_one_document(store, pairs)[is_random].any()
    assert is_within_one_document(store, pairs)[~is_random].all()


def test_truncation_takes_front_and_back_alike(tmp_path):
    """Two long sentences a document: tokens cut from A's front are binomial(cut, 1/2)."""
    documents = [[list(range(5, 105)), list(range(5, 105))] for _ in range(300)]
    store = store_of(tmp_path, documents)
    pairs = segment_pairs(store, 0, 300, visits=range(1), settings=settings(length=43, short=0.0))
    in_first = np.asarray(store.sentences)[
        np.searchsorted(store.sentences, pairs.examples["a_start"], side="right") - 1
    ]
    cut = pairs.examples["a_start"] - in_first
    removed = 100 - pairs.examples["a_length"].astype(int)
    assert (pairs.examples["a_length"] + pairs.examples["b_length"] == 40).all()
    deviation = np.sqrt(removed.sum() / 4)
    assert abs(cut.sum() - removed.sum() / 2) < 5 * deviation
    assert cut.std() > 2


def test_the_share_of_random_pairs_is_half_plus_the_single_sentence_chunks(tmp_path):
    """Chunks of one sentence are always random; of the others half (binomial, 5 deviations)."""
    documents = random_documents(3, 400, VOCAB, max_sentences=12)
    store = store_of(tmp_path, documents)
    options = settings(length=64)
    label, single = [], []
    for _, _, a, _, _, _, is_random in literal_pairs(documents, 0, options):
        label.append(is_random)
        single.append(a)
    pairs = segment_pairs(store, 0, 400, visits=range(1), settings=options)
    share = pairs.examples["next_sentence_label"].mean()
    assert share == pytest.approx(np.mean(label))
    assert share > 0.5
