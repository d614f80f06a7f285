"""sample-similarity: how much of a sentence is left in its copy? GLUE's shape of STS-B, 0 to 5.

The score is five times the share of words left as they are. Which share is changed is uniform, and
a changed word is dropped, replaced by a word of another sentence, or misspelt.
"""

from collections.abc import Sequence

import numpy as np

from stages.core.random import Draws

SCORE_RANGE = (0.0, 5.0)
_LEAST_LETTERS = 4  # of a word that can be misspelt inside
_SCORE_DIGITS = 3
_NUM_KINDS = 3


def make_similarity(
    sentences: Sequence[str], *, seed: int, split: str
) -> tuple[list[str], list[str], list[float]]:
    """The sentences, their changed copies, and the scores."""
    draws = Draws(seed, f"tasks.sample.similarity.{split}")
    vocabulary = [word for sentence in sentences for word in sentence.split()]
    copies, scores = [], []
    for index, sentence in enumerate(sentences):
        words = sentence.split()
        num_changed = round(float(draws.uniform(index, 0)) * len(words))
        copies.append(" ".join(change(words, num_changed, vocabulary, draws, index)))
        share_left = 1 - num_changed / len(words)
        scores.append(round(SCORE_RANGE[1] * share_left, _SCORE_DIGITS))
    return list(sentences), copies, scores


def change(
    words: Sequence[str], num_changed: int, vocabulary: Sequence[str], draws: Draws, index: int
) -> list[str]:
    """The words with `num_changed` of them dropped, replaced or misspelt; at most half go."""
    places = np.arange(len(words))
    chosen = set(np.argsort(draws.bits(index, 1, places), kind="stable")[:num_changed].tolist())
    kinds = draws.integers(_NUM_KINDS, index, 2, places)
    others = draws.integers(len(vocabulary), index, 3, places)
    left, num_dropped = [], 0
    for place, word in enumerate(words):
        if place not in chosen:
            left.append(word)
        elif kinds[place] == 0 and num_dropped < len(words) // 2:
            num_dropped += 1
        elif kinds[place] == 1 and (misspelt := misspell(word)) != word:
            left.append(misspelt)
        else:
            left.append(_another(word, vocabulary, int(others[place])))
    return left


def misspell(word: str) -> str:
    """Two unlike neighbours inside the word change places; a word without such stays."""
    if len(word) >= _LEAST_LETTERS and word.isalpha():
        for place in range(1, len(word) - 2):
            if word[place] != word[place + 1]:
                return f"{word[:place]}{word[place + 1]}{word[place]}{word[place + 2 :]}"
    return word


def _another(word: str, vocabulary: Sequence[str], start: int) -> str:
    """The first word of the vocabulary from `start` on that is not `word`."""
    for step in range(len(vocabulary)):
        other = vocabulary[(start + step) % len(vocabulary)]
        if other != word:
            return other
    return f"{word}s"
