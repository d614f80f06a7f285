from pathlib import Path

import numpy as np
import pytest

from stages.core.errors import ArtifactError
from stages.core.random import hash_fraction
from stages.tokenizer.sample import choose_documents, iter_sample, sample_threshold

FRACTIONS = np.array([0.5, 0.1, 0.9, 0.3])
SIZES = np.array([10, 20, 40, 80])


@pytest.mark.parametrize(
    ("sample_bytes", "taken"),
    [(1, [0.1]), (20, [0.1]), (21, [0.1, 0.3]), (100, [0.1, 0.3]), (101, [0.5, 0.1, 0.3])],
)
def test_the_fewest_documents_in_hash_order_that_reach_the_size(
    sample_bytes: int, taken: list[float]
) -> None:
    threshold = sample_threshold(FRACTIONS, SIZES, sample_bytes)
    assert [f for f in FRACTIONS if f < threshold] == taken


def test_a_text_smaller_than_the_sample_is_taken_whole() -> None:
    assert sample_threshold(FRACTIONS, SIZES, 1000) == 1.0


def test_the_sample_is_part_of_the_corpus_and_about_as_large_as_asked(
    write_corpus, texts: list[str]
) -> None:
    corpus = write_corpus(texts, texts[:2])
    asked = sum(map(len, texts)) // 4
    sample = list(iter_sample(corpus, choose_documents(corpus, asked)))
    assert set(sample) < set(texts)
    assert asked <= sum(map(len, sample)) < asked + max(map(len, texts))


def test_the_order_of_documents_does_not_change_the_sample(write_corpus, texts: list[str]) -> None:
    forward = write_corpus(texts, texts[:2], "forward")
    threshold = choose_documents(forward, 3000)
    assert sorted(iter_sample(forward, threshold)) == sorted(
        text for index, text in enumerate(texts) if _is_taken(index, threshold)
    )


def _is_taken(index: int, threshold: float) -> bool:
    return hash_fraction(f"train-{index}", "tokenizer.sample") < threshold


def test_a_corpus_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no train-\*\.parquet; run the corpus stage"):
        choose_documents(tmp_path, 1000)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "train-00000.parquet").write_bytes(b"PAR1 this is no parquet file PAR1")
    with pytest.raises(ArtifactError, match=r"train-00000\.parquet: not readable as documents"):
        choose_documents(tmp_path, 1000)
