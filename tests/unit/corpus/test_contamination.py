"""Decontamination: the right paragraphs are cut, and only those."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import ArtifactError
from stages.corpus.contamination import NgramIndex, build_index, cut_contaminated, evaluation_texts
from stages.corpus.shingles import WordHashes, hash_runs
from tests.unit.corpus.builders import write_task

SENTENCE = "one two three four five six seven"


def cut(paragraphs: list[str], texts: list[str], ngram_words: int = 5):
    words = WordHashes()
    index = NgramIndex(build_index(texts, ngram_words), ngram_words)
    return cut_contaminated(paragraphs, [words.of_text(p) for p in paragraphs], index)


def test_a_paragraph_with_a_shared_run_is_cut_whatever_its_case_and_punctuation():
    found = cut(["before it", "x, ONE two -- three: four five! y", "after it"], [SENTENCE])
    assert found.kept == "before it\nafter it"
    assert found.gone == "x, ONE two -- three: four five! y"
    assert found.num_paragraphs == 1
    assert found.cut_fraction == pytest.approx(len(found.gone) / 50)
    assert np.array_equal(found.kept_words, WordHashes().of_text("before it after it"))


def test_a_run_over_a_paragraph_border_cuts_both():
    found = cut(["a b", "x two three", "four five six y", "c d"], [SENTENCE])
    assert found.kept == "a b\nc d"


def test_a_shorter_overlap_is_no_contamination():
    assert cut(["x one two three four y"], [SENTENCE]) is None


def test_a_text_shorter_than_a_run_cannot_contaminate():
    assert cut(["one two three four"], ["one two three four"]) is None


def test_paragraphs_without_words_do_not_shift_the_cut():
    found = cut(["...", "keep me", "---", SENTENCE, "!!!"], [SENTENCE])
    assert found.gone == SENTENCE


def test_the_index_holds_exactly_what_it_was_given():
    words = np.random.default_rng(0).integers(0, 1 << 63, 5_000).astype(np.uint64)
    inside, outside = hash_runs(words[:2_500], 3), hash_runs(words[2_500:], 3)
    index = NgramIndex(np.unique(inside), 3)
    assert index.contains(inside).all()
    assert not index.contains(outside).any()
    assert not NgramIndex(np.zeros(0, np.uint64), 3).contains(inside).any()


def test_the_texts_of_every_split_but_train_are_read(tmp_path):
    write_task(tmp_path, {"train": ["t"], "dev": ["d"], "test": ["e"], "dev_mismatched": ["m"]})
    assert list(evaluation_texts(tmp_path)) == ["d", "m", "e"]


def write_questions(folder, **columns):
    """A tasks artefact of one extraction task, whose dev split has these columns."""
    (folder / "SQuAD").mkdir()
    pq.write_table(pa.table(columns), folder / "SQuAD" / "dev.parquet")
    manifest = {"stage": "tasks", "tasks": {"SQuAD": {"splits": {"dev": {}}}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_questions_and_contexts_are_read_once_each(tmp_path):
    write_questions(
        tmp_path,
        index=[0, 1],
        id=["i", "j"],
        question=["q", "r"],
        context=["c", "c"],
        answers=[["c"], ["c"]],
    )
    assert sorted(evaluation_texts(tmp_path)) == ["c", "q", "r"]


def test_a_paragraph_with_a_run_of_a_context_is_cut(tmp_path):
    write_questions(tmp_path, question=["who?"], context=[f"It said {SENTENCE}."])
    found = cut(["before it", f"x {SENTENCE}"], list(evaluation_texts(tmp_path)))
    assert found.kept == "before it"


def test_a_task_without_texts_is_refused(tmp_path):
    write_questions(tmp_path, question=["who?"])
    with pytest.raises(ArtifactError, match=r"has the columns \['question'\], expected those of"):
        list(evaluation_texts(tmp_path))


def test_a_missing_task_file_is_named(tmp_path):
    write_task(tmp_path, {"dev": ["d"]})
    (tmp_path / "one" / "dev.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"one/dev.parquet: cannot be read .*; run tasks again"):
        list(evaluation_texts(tmp_path))
