import pytest

from stages.core.random import Draws
from stages.tasks.similarity import change, make_similarity, misspell

WORDS = ["The", "name", "of", "the", "file", "is", "read", "from", "the", "list."]
VOCABULARY = ["other", "words", "from", "other", "places"]


def test_the_score_is_the_share_of_words_left_as_they_are():
    sentences = [" ".join(WORDS)] * 200
    first, copies, scores = make_similarity(sentences, seed=1, split="dev")
    assert first == sentences
    for copy, score in zip(copies, scores, strict=True):
        assert score == round(5 * round(score * len(WORDS) / 5) / len(WORDS), 3)
        assert (copy == sentences[0]) == (score == 5.0)


def test_scores_cover_the_whole_range():
    _, _, scores = make_similarity([" ".join(WORDS)] * 400, seed=1, split="dev")
    assert (min(scores), max(scores)) == (0.0, 5.0)
    assert 2.3 < sum(scores) / len(scores) < 2.7


@pytest.mark.parametrize("num_changed", range(len(WORDS) + 1))
def test_as_many_words_change_as_are_asked_for(num_changed):
    draws = Draws(1, "test")
    for index in range(50):
        left = change(WORDS, num_changed, ["\u2603"], draws, index)
        dropped = len(WORDS) - len(left)
        kept = sum(word in WORDS for word in left)
        assert kept == len(WORDS) - num_changed
        assert dropped <= len(WORDS) // 2


def test_words_are_dropped_replaced_and_misspelt():
    draws = Draws(1, "test")
    made = [change(WORDS, 5, VOCABULARY, draws, index) for index in range(100)]
    assert any(len(words) < len(WORDS) for words in made)
    assert any("places" in words for words in made)
    assert any("flie" in words for words in made)


def test_a_misspelt_word_keeps_its_ends_and_letters():
    assert misspell("name") == "nmae"
    assert misspell("balloon") == "blaloon"
    for unfit in ("is", "the", "aaaa", "list.", "boot"):
        assert misspell(unfit) == unfit


def test_the_same_seed_makes_the_same_copies():
    made = [make_similarity([" ".join(WORDS)] * 9, seed=seed, split="dev") for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
