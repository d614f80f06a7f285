"""Single-sequence examples: whole sentences packed up to the length, or text cut anywhere.

Each function makes the examples of a block of documents as ranges into the token store. In each
pass every token of the block comes exactly once. Packing across documents starts anew at each
block's border, which is a fixed number of tokens away, so that neither workers nor machine show.
"""

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from stages.core.examples import EXAMPLE
from stages.core.ranges import numbers_within
from stages.core.token_store import TokenStore
from stages.masking.pairs import Instances, PairSettings, target_lengths, visits_of_documents


def full_sentences(
    store: TokenStore,
    first_document: int,
    last_document: int,
    *,
    visits: range,
    max_seq_length: int,
) -> Instances:
    """Whole sentences in corpus order up to the length, across documents.

    [CLS], [SEP] and the [SEP] between two documents count. Source: Liu et al. 2019, section 4.2,
    FULL-SENTENCES. A sentence longer than the room is cut.
    """
    starts, documents = _sentence_starts(store, first_document, last_document, max_seq_length - 2)
    # Each border between documents costs a separator: as if it were a token of the text.
    return _instances(starts, documents, _greedy(starts, documents, max_seq_length - 2), visits)


def doc_sentences(
    store: TokenStore,
    first_document: int,
    last_document: int,
    *,
    visits: range,
    max_seq_length: int,
) -> Instances:
    """Whole sentences up to the length, never across documents.

    Source: Liu et al. 2019, section 4.2, DOC-SENTENCES. A sentence longer than the room is cut.
    """
    room = max_seq_length - 2
    starts, documents = _sentence_starts(store, first_document, last_document, room)
    # Documents are moved so far apart that no example reaches over.
    return _instances(starts, documents, _greedy(starts, documents * (room + 1), room), visits)


def single(
    store: TokenStore,
    first_document: int,
    last_document: int,
    *,
    visits: range,
    settings: PairSettings,
) -> Instances:
    """Contiguous text of one document, cut anywhere.

    As in BERT's data a document's visit aims at a shorter length with
    short_sequence_probability, drawn evenly from 2 to max_seq_length - 2.
    Source: Joshi et al. 2020, section 3.3 (one contiguous segment).
    """
    visit, document = names = visits_of_documents(visits, first_document, last_document)
    begin = store.sentences[store.documents[document]]
    size = store.sentences[store.documents[document + 1]] - begin
    target = target_lengths(names, settings, room=settings.max_seq_length - 2)
    num_chunks = -(-size // target)
    owner = np.repeat(np.arange(len(document)), num_chunks)
    chunk = numbers_within(num_chunks)
    examples = np.zeros(len(owner), dtype=EXAMPLE)
    examples["a_start"] = begin[owner] + chunk * target[owner]
    examples["a_length"] = np.minimum(target[owner], size[owner] - chunk * target[owner])
    return Instances(examples, visit[owner], document[owner], chunk)


def _sentence_starts(
    store: TokenStore, first_document: int, last_document: int, room: int
) -> tuple[Int64[ndarray, "n_1"], Int64[ndarray, "n_1"]]:
    """Where each sentence starts, ones beyond the room cut, and the document that it is of.

    Both carry a last entry behind the end; its document is the last one.
    """
    low, high = int(store.documents[first_document]), int(store.documents[last_document])
    begin = np.asarray(store.sentences[low : high + 1])
    per_document = np.diff(store.documents[first_document : last_document + 1])
    document = np.repeat(np.arange(first_document, last_document), per_document)
    num_pieces = -(-np.diff(begin) // room)
    owner = np.repeat(np.arange(len(num_pieces)), num_pieces)
    piece = numbers_within(num_pieces)
    starts = np.append(begin[owner] + piece * room, begin[-1])
    return starts, np.append(document[owner], last_document - 1)


def _greedy(starts: Int64[ndarray, "n_1"], shifts: Int64[ndarray, "n_1"], room: int) -> list[int]:
    """Numbers of the sentences that begin an example, and one behind the last.

    `shifts` moves each sentence: what two neighbours differ by is room lost between them.
    """
    begins, ends = starts[:-1] + shifts[:-1], starts[1:] + shifts[:-1]
    firsts = [0]
    while firsts[-1] < len(begins):
        firsts.append(int(np.searchsorted(ends, begins[firsts[-1]] + room, side="right")))
    return firsts


def _instances(
    starts: Int64[ndarray, "n_1"],
    documents: Int64[ndarray, "n_1"],
    firsts: list[int],
    visits: range,
) -> Instances:
    """Ranges from sentence to sentence, each named by its document and its number in it.

    Nothing is drawn, so that all passes hold the same ones.
    """
    begin = starts[firsts]
    examples = np.zeros(len(begin) - 1, dtype=EXAMPLE)
    examples["a_start"] = begin[:-1]
    examples["a_length"] = np.diff(begin)
    document = documents[np.array(firsts[:-1], dtype=np.int64)]
    times = len(visits)
    return Instances(
        np.tile(examples, times),
        np.repeat(np.array(visits), len(examples)),
        np.tile(document, times),
        np.tile(_number_within(document), times),
    )


def _number_within(document: Int64[ndarray, "N"]) -> Int64[ndarray, "N"]:
    """0, 1, 2 and so on within each run of equal values."""
    sizes = np.diff(np.flatnonzero(np.diff(document, prepend=-1)), append=len(document))
    return numbers_within(sizes)
