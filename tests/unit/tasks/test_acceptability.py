from collections import Counter

from stages.core.random import Draws
from stages.tasks.acceptability import disturb, make_acceptability

SENTENCE = "The name of the file is read from the list of all names."
SENTENCES = [f"The {word} of the file is read from the list of {word}s." for word in "abcdefgh"]


def test_a_disturbed_sentence_keeps_its_ends_and_is_another():
    draws = Draws(1, "test")
    for index in range(500):
        words = disturb(SENTENCE, draws, index).split()
        assert words != SENTENCE.split()
        assert (words[0], words[-1]) == ("The", "names.")


def test_disturbances_lose_add_and_move_words():
    draws = Draws(1, "test")
    original = SENTENCE.split()
    lengths, moved = Counter(), 0
    for index in range(600):
        words = disturb(SENTENCE, draws, index).split()
        lengths[len(words) - len(original)] += 1
        changed = [a != b for a, b in zip(words, original, strict=False)]
        moved += len(words) == len(original) and sum(changed) > 0
        assert not Counter(words) - Counter(original) or len(words) == len(original) + 1
    assert set(lengths) == {-1, 0, 1}
    assert moved == lengths[0]
    assert min(lengths.values()) > 50  # expected about 100, 400, 100 of 600


def test_the_shortest_sentence_can_be_disturbed():
    draws = Draws(1, "test")
    assert all(disturb("A b c d e f.", draws, index) != "A b c d e f." for index in range(300))


def test_a_sentence_of_like_words_is_disturbed_by_saying_one_twice():
    assert disturb("No no no no no no.", Draws(1, "test"), 0) == "No no no no no no no."


def test_acceptable_sentences_are_as_they_were_and_the_others_are_not():
    sentences = SENTENCES * 100
    texts, labels = make_acceptability(sentences, seed=1, split="dev")
    for text, label, sentence in zip(texts, labels, sentences, strict=True):
        assert (text == sentence) == (label == 1)
    assert 330 < sum(labels) < 470  # of 800: five standard deviations of a fair coin


def test_splits_and_seeds_draw_on_their_own():
    made = [
        make_acceptability(SENTENCES * 4, seed=seed, split=split)
        for seed, split in ((1, "dev"), (1, "dev"), (2, "dev"), (1, "test"))
    ]
    assert made[0] == made[1]
    assert made[0] != made[2]
    assert made[0] != made[3]
