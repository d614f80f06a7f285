"""The work on one batch of documents: clean, filter, cut, hash, pack. Runs in a worker.

In: raw documents. Out: the cleaned ones, packed, their records, counts, and samples of what was
dropped. Everything that costs time is here.
"""

from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
from jaxtyping import UInt32, UInt64
from numpy import ndarray

from stages.corpus.cleaning import clean
from stages.corpus.contamination import Cut, NgramIndex, cut_contaminated
from stages.corpus.documents import RawDocument
from stages.corpus.filters import Verdict, filter_contamination, filter_length
from stages.corpus.minhash import Bands, Signer, choose_bands
from stages.corpus.params import CleaningParams
from stages.corpus.records import RecordArrays
from stages.corpus.shards import CleanDocument, pack
from stages.corpus.shingles import WordHashes

CUT_PASSAGE = "cut-passage"
MAX_SAMPLES = 5
_EXCERPT_CHARACTERS = 200
Samples = dict[str, list[dict[str, str]]]


@dataclass
class BatchResult:
    """What the stage learns of a batch."""

    packed: bytes = b""
    """The documents that are kept."""
    records: RecordArrays | None = None
    counts: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    samples: Samples = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """A cleaned text after all filters; `text` is what shows why where it is dropped."""

    verdict: Verdict
    text: str
    words: UInt64[ndarray, "words"] = field(default_factory=lambda: np.zeros(0, np.uint64))
    cut: Cut | None = None


class BatchWorker:
    """Cleans batches; holds what is built once a process."""

    def __init__(self, params: CleaningParams, ngrams: Path | None) -> None:
        self._params = params
        self._words = WordHashes()
        self._index: NgramIndex | None = None
        if params.decontamination and ngrams:
            hashes = np.load(ngrams, mmap_mode="r")
            self._index = NgramIndex(hashes, params.decontamination.ngram_words)
        self._signer = Signer(params.near_duplicates) if params.near_duplicates else None
        self._bands = bands_of(params)

    def work(self, documents: list[RawDocument]) -> BatchResult:
        """Clean a batch; returns what is kept, its records and counts."""
        result = BatchResult()
        kept: list[CleanDocument] = []
        digests: list[UInt64[ndarray, "2"]] = []
        signatures: list[UInt32[ndarray, "perms"]] = []
        for raw in documents:
            judged = self._judge(raw, result)
            if judged.verdict is not True:
                reason = judged.verdict[1]
                result.dropped[reason] += 1
                add_sample(result.samples, reason, raw.id, judged.text)
                continue
            if judged.cut:
                _count_cut(result, raw.id, judged.cut)
            title = clean(raw.title, unicode_form=self._params.unicode_form).text.replace("\n", " ")
            kept.append(CleanDocument(raw.id, title, judged.text, raw.is_validation))
            digest = blake2b(judged.text.encode(), digest_size=16).digest()
            digests.append(np.frombuffer(digest, "<u8"))
            if self._signer:
                signatures.append(self._signer.sign(judged.words, int(digests[-1][0])))
        result.packed = pack(kept)
        if kept:
            result.records = self._records(kept, digests, signatures)
        return result

    def _judge(self, raw: RawDocument, result: BatchResult) -> Judged:
        cleaned = clean(
            raw.text, unicode_form=self._params.unicode_form, is_hard_wrapped=raw.is_hard_wrapped
        )
        result.counts["replaced_characters"] += cleaned.replaced
        least = self._params.min_document_characters
        verdict = filter_length(cleaned.text, min_document_characters=least)
        if verdict is not True or not (self._index or self._signer):
            return Judged(verdict, cleaned.text)
        paragraphs = cleaned.text.split("\n")
        words = [self._words.of_text(paragraph) for paragraph in paragraphs]
        cut = cut_contaminated(paragraphs, words, self._index) if self._index else None
        if cut is None:
            return Judged(True, cleaned.text, np.concatenate(words))
        assert self._params.decontamination is not None
        verdict = filter_contamination(
            cut.cut_fraction,
            cut.kept,
            max_cut_fraction=self._params.decontamination.max_cut_fraction,
            min_document_characters=least,
        )
        if verdict is not True:
            return Judged(verdict, cut.gone)
        return Judged(True, cut.kept, cut.kept_words, cut)

    def _records(
        self,
        kept: list[CleanDocument],
        digests: list[UInt64[ndarray, "2"]],
        signatures: list[UInt32[ndarray, "perms"]],
    ) -> RecordArrays:
        stacked = np.stack(signatures) if signatures else np.zeros((len(kept), 0), np.uint32)
        return RecordArrays(
            digests=np.stack(digests),
            is_validation=np.array([document.is_validation for document in kept], dtype=bool),
            signatures=stacked,
            band_keys=self._bands.keys(stacked),
        )


_started: list[BatchWorker] = []


def start_worker(params: CleaningParams, ngrams: Path | None) -> None:
    """Build this process's worker."""
    _started[:] = [BatchWorker(params, ngrams)]


def work_batch(documents: list[RawDocument]) -> BatchResult:
    """Clean one batch with this process's worker."""
    return _started[0].work(documents)


def bands_of(params: CleaningParams) -> Bands:
    """The bands that the settings lead to; none where near duplicates are not searched."""
    near = params.near_duplicates
    if near is None:
        return Bands(0, 0)
    return choose_bands(near.similarity_threshold, near.num_permutations)


def add_sample(samples: Samples, reason: str, document_id: str, text: str) -> None:
    """Remember the beginning of a text as an example of a reason, while there are few."""
    found = samples.setdefault(reason, [])
    if len(found) < MAX_SAMPLES:
        found.append({"id": document_id, "text": text[:_EXCERPT_CHARACTERS]})


def _count_cut(result: BatchResult, document_id: str, cut: Cut) -> None:
    result.counts["cut_documents"] += 1
    result.counts["cut_paragraphs"] += cut.num_paragraphs
    result.counts["cut_bytes"] += len(cut.gone.encode())
    add_sample(result.samples, CUT_PASSAGE, document_id, cut.gone)
