"""Packed examples: by hand, and that no token is lost or doubled."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.examples import assemble
from stages.core.token_store import TokenStore
from stages.masking.packing import doc_sentences, full_sentences, single
from stages.masking.pairs import Instances, PairSettings

SPECIAL = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
CORPORA = st.lists(
    st.lists(st.integers(1, 30), min_size=1, max_size=8), min_size=1, max_size=8
)  # the lengths of each document's sentences


def store_of(*documents: list[int]) -> TokenStore:
    """Documents given as the lengths of their sentences; the tokens count up."""
    lengths = [length for document in documents for length in document]
    return TokenStore(
        tokens=(5 + np.arange(sum(lengths))).astype("<u2"),
        sentences=np.cumsum([0, *lengths]),
        documents=np.cumsum([0, *(len(document) for document in documents)]),
        word_starts=np.ones(5000, dtype=bool),
    )


def settings(length: int, short: float = 0.0, seed: int = 1) -> PairSettings:
    return PairSettings(length, short, seed, "train")


def ranges(instances: Instances) -> list[tuple[int, int]]:
    """Start and length of each example's text."""
    examples = instances.examples
    return list(zip(examples["a_start"].tolist(), examples["a_length"].tolist(), strict=True))


def names(instances: Instances) -> list[tuple[int, int]]:
    return list(zip(instances.document.tolist(), instances.chunk.tolist(), strict=True))


def packed(kind: str, store: TokenStore, length: int, *, visit: int = 0, short: float = 0.0):
    visits = range(visit, visit + 1)
    if kind == "single":
        options = settings(length, short)
        return single(store, 0, store.num_documents, visits=visits, settings=options)
    function = full_sentences if kind == "full-sentences" else doc_sentences
    return function(store, 0, store.num_documents, visits=visits, max_seq_length=length)


def test_full_sentences_fill_the_room_across_documents():
    # Room for 8: 3 + 2 and a separator, then 2 more; the next 4 do not fit.
    instances = full_sentences(
        store_of([3, 2], [2, 4], [4]), 0, 3, visits=range(1), max_seq_length=10
    )
    # 5 + [SEP] + 2 = 8; 4 + [SEP] + 4 = 9 is one too many.
    assert ranges(instances) == [(0, 7), (7, 4), (11, 4)]
    assert names(instances) == [(0, 0), (1, 0), (2, 0)]
    assert not instances.examples["b_length"].any()
    assert not instances.examples["next_sentence_label"].any()


def test_a_separator_is_paid_between_documents_and_not_behind_the_last():
    # 4 + 4 fill the room of 8, at the border of a document.
    assert ranges(
        full_sentences(store_of([4, 4], [8]), 0, 2, visits=range(1), max_seq_length=10)
    ) == [
        (0, 8),
        (8, 8),
    ]
    # 4 + [SEP] + 3 fit into 8, 4 + [SEP] + 4 do not.
    assert ranges(full_sentences(store_of([4], [3]), 0, 2, visits=range(1), max_seq_length=10)) == [
        (0, 7)
    ]
    assert (
        len(ranges(full_sentences(store_of([4], [4]), 0, 2, visits=range(1), max_seq_length=10)))
        == 2
    )


def test_doc_sentences_never_reach_over_a_document():
    instances = doc_sentences(
        store_of([3, 2], [2, 4, 3], [4]), 0, 3, visits=range(1), max_seq_length=10
    )
    assert ranges(instances) == [(0, 5), (5, 6), (11, 3), (14, 4)]
    assert names(instances) == [(0, 0), (1, 0), (1, 1), (2, 0)]


@pytest.mark.parametrize("kind", ["full-sentences", "doc-sentences"])
def test_a_sentence_beyond_the_room_is_cut_into_pieces(kind):
    instances = packed(kind, store_of([2, 20, 3]), 10)
    # Pieces of 8, 8 and 4; the last takes the next sentence along.
    assert ranges(instances) == [(0, 2), (2, 8), (10, 8), (18, 7)]
    assert names(instances) == [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_single_cuts_anywhere_and_leaves_the_rest_in_a_last_window():
    instances = single(store_of([5, 6], [3], [16]), 0, 3, visits=range(1), settings=settings(10))
    assert ranges(instances) == [(0, 8), (8, 3), (11, 3), (14, 8), (22, 8)]
    assert names(instances) == [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)]


def test_short_windows_are_evenly_2_to_the_room_and_drawn_anew_each_pass():
    """All windows short: targets 2..8 are even (7 counts of binomial(2000, 1/7), 5 deviations)."""
    store = store_of(*[[40]] * 2000)
    instances = packed("single", store, 10, short=1.0)
    is_first = instances.chunk == 0
    targets = instances.examples["a_length"][is_first]
    counts = np.bincount(targets, minlength=9)
    assert counts[:2].sum() == 0
    assert (np.abs(counts[2:] - 2000 / 7) < 5 * np.sqrt(2000 / 7 * 6 / 7)).all()
    again = packed("single", store, 10, short=1.0, visit=1)
    assert not np.array_equal(instances.examples, again.examples)


def test_the_share_of_short_documents_is_the_one_set():
    """0.1 of 4000 documents, of which 1 in 7 draws the full room: binomial, 5 deviations."""
    store = store_of(*[[40]] * 4000)
    instances = packed("single", store, 10, short=0.1)
    share = (instances.examples["a_length"][instances.chunk == 0] < 8).mean()
    expected = 0.1 * 6 / 7
    assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / 4000)


@pytest.mark.parametrize("kind", ["full-sentences", "doc-sentences", "single"])
@given(corpus=CORPORA, length=st.integers(8, 40), visit=st.integers(0, 3))
def test_every_token_comes_exactly_once_and_fits(kind, corpus, length, visit):
    store = store_of(*corpus)
    instances = packed(kind, store, length, visit=visit, short=0.5)
    place = 0
    for start, size in ranges(instances):
        assert start == place
        assert size > 0
        place += size
    assert place == len(store.tokens)
    sequences = assemble(
        store, instances.examples, max_seq_length=length, special_token_ids=SPECIAL
    )
    text = sequences.input_ids[~sequences.special_tokens_mask]
    assert text.tolist() == store.tokens.tolist()
    # Nothing was cut at the right: the sequence ends with its separator.
    last = sequences.attention_mask.sum(axis=1) - 1
    assert (sequences.input_ids[np.arange(len(last)), last] == SPECIAL["sep"]).all()
    assert len(set(names(instances))) == len(instances.examples)


@given(corpus=CORPORA, length=st.integers(8, 40))
def test_full_sentences_equal_a_literal_loop(corpus, length):
    assert ranges(packed("full-sentences", store_of(*corpus), length)) == literal(corpus, length)


@given(corpus=CORPORA, length=st.integers(8, 40))
def test_doc_sentences_equal_a_literal_loop_over_each_document(corpus, length):
    expected, place = [], 0
    for document in corpus:
        expected += [(place + start, size) for start, size in literal([document], length)]
        place += sum(document)
    assert ranges(packed("doc-sentences", store_of(*corpus), length)) == expected


def literal(corpus, length):
    """Section 4.2 of Liu et al. 2019, sentence by sentence."""
    room = length - 2
    examples, start, size, separators = [], 0, 0, 0
    for number, document in enumerate(corpus):
        for sentence, whole in enumerate(document):
            pieces = [room] * (whole // room) + ([whole % room] if whole % room else [])
            for index, piece in enumerate(pieces):
                begins_document = number > 0 and sentence == 0 and index == 0
                border = int(size > 0 and begins_document)
                if size and size + separators + border + piece > room:
                    examples.append((start, size))
                    start, size, separators, border = start + size, 0, 0, 0
                size += piece
                separators += border
    return [*examples, (start, size)]


def test_blocks_of_documents_do_not_show_in_single_windows_and_doc_sentences():
    store = store_of(*[[7, 3, 12, 5]] * 9)
    for kind in ("single", "doc-sentences"):
        whole = packed(kind, store, 16, short=0.5)
        parts = []
        for first in (0, 3, 6):
            if kind == "single":
                options = settings(16, 0.5)
                parts.append(single(store, first, first + 3, visits=range(1), settings=options))
            else:
                parts.append(
                    doc_sentences(store, first, first + 3, visits=range(1), max_seq_length=16)
                )
        joined = np.concatenate([part.examples for part in parts])
        assert np.array_equal(whole.examples, joined)
        assert names(whole) == [name for part in parts for name in names(part)]
