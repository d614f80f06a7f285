"""One batch of documents: what is kept, cut and dropped, and what is counted."""

import numpy as np
import pytest

from stages.corpus.batch import MAX_SAMPLES, BatchWorker
from stages.corpus.contamination import build_index
from stages.corpus.documents import RawDocument
from stages.corpus.params import CleaningParams
from stages.corpus.shards import unpack
from tests.unit.corpus.builders import CLEANING, prose

SECRET = "the answer that a test asks for has at least thirteen words in its one sentence"


@pytest.fixture
def work(tmp_path):
    np.save(tmp_path / "ngrams.npy", build_index([SECRET], 13))

    def run(*texts: str, **changes):
        params = CleaningParams.model_validate({**CLEANING, **changes})
        worker = BatchWorker(params, tmp_path / "ngrams.npy")
        documents = [RawDocument(str(n), "a\nb", text, n == 0) for n, text in enumerate(texts)]
        result = worker.work(documents)
        return result, list(unpack(result.packed))

    return run


def test_kept_documents_are_clean_and_have_a_record_each(work):
    result, kept = work(prose(0) + "\x00", prose(1))
    assert [(d.id, d.title, d.text) for d in kept] == [
        ("0", "a b", prose(0)),
        ("1", "a b", prose(1)),
    ]
    assert result.records.is_validation.tolist() == [True, False]
    assert result.records.digests.shape == (2, 2)
    assert result.records.signatures.shape == (2, 128)
    assert result.records.band_keys.shape == (21, 2)


def test_empty_and_short_documents_are_dropped_with_a_sample(work):
    result, kept = work("", "short", "\x00 \n")
    assert kept == []
    assert result.records is None
    assert result.dropped == {"empty": 2, "short": 1}
    assert result.samples["short"] == [{"id": "1", "text": "short"}]


def test_a_contaminated_paragraph_goes_and_the_document_stays(work):
    result, kept = work(prose(0) + "\n" + SECRET + "\n" + prose(1))
    assert [document.text for document in kept] == [prose(0) + "\n" + prose(1)]
    assert result.counts["cut_documents"] == result.counts["cut_paragraphs"] == 1
    assert result.counts["cut_bytes"] == len(SECRET)
    assert result.samples["cut-passage"] == [{"id": "0", "text": SECRET}]


def test_the_record_is_that_of_the_text_after_the_cut(work):
    result, _ = work(prose(0) + "\n" + SECRET, prose(0))
    assert np.array_equal(result.records.digests[0], result.records.digests[1])
    assert np.array_equal(result.records.signatures[0], result.records.signatures[1])


def test_a_document_that_is_mostly_contaminated_is_dropped(work):
    result, kept = work(SECRET + "\n" + "a little more than that", prose(0))
    assert [document.id for document in kept] == ["1"]
    assert result.dropped == {"contaminated": 1}
    assert result.samples["contaminated"] == [{"id": "0", "text": SECRET}]


def test_what_is_switched_off_does_nothing(work):
    result, kept = work(SECRET, near_duplicates=None, decontamination=None)
    assert [document.text for document in kept] == [SECRET]
    assert result.records.band_keys.shape == (0, 1)


def test_samples_are_few_and_short(work):
    result, _ = work(*["x" * 300] * 20, min_document_characters=1000)
    assert len(result.samples["short"]) == MAX_SAMPLES
    assert len(result.samples["short"][0]["text"]) == 200
    assert result.dropped == {"short": 20}


def test_lone_surrogates_are_counted(work):
    result, kept = work(prose(0) + "\ud800")
    assert result.counts["replaced_characters"] == 1
    assert kept[0].text.endswith("\ufffd")
