"""Words, and hashes of runs of words."""

import numpy as np

from stages.corpus.shingles import WordHashes, hash_runs, split_words


def test_words_are_lower_case_without_punctuation():
    assert split_words('"It\'s 3.5 %", said_Bob.') == ["it", "s", "3", "5", "said_bob"]
    assert split_words("Ça — va?") == ["ça", "va"]


def test_characters_of_scripts_without_spaces_are_words():
    assert split_words("私はcatです。日本") == ["私", "は", "cat", "で", "す", "日", "本"]


def test_a_text_without_spaces_is_cut_into_bounded_words():
    assert [len(word) for word in split_words("x" * 150)] == [64, 64, 22]


def test_a_run_has_the_same_hash_wherever_it_stands():
    words = WordHashes()
    first = hash_runs(words.of_text("the cat sat on the mat"), 3)
    second = hash_runs(words.of_text("Yesterday, THE cat sat!"), 3)
    assert len(first) == 4
    assert first[0] == second[1]
    assert len({*first.tolist(), *second.tolist()}) == 5


def test_a_run_depends_on_the_order_of_its_words():
    words = WordHashes()
    assert hash_runs(words.of_text("a b c"), 3) != hash_runs(words.of_text("c b a"), 3)


def test_fewer_words_than_a_run_give_none():
    assert len(hash_runs(np.zeros(2, np.uint64), 3)) == 0


def test_hashes_do_not_change_when_the_memory_of_words_is_emptied(monkeypatch):
    monkeypatch.setattr("stages.corpus.shingles._MAX_REMEMBERED", 2)
    small = WordHashes()
    text = "a b c d a b"
    found = small.of_text(text)
    assert len(small) <= 2
    monkeypatch.undo()
    assert np.array_equal(found, WordHashes().of_text(text))
