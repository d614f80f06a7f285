"""sample-acceptability: is a sentence whole, or are its words disturbed? GLUE's shape of CoLA.

Half of the sentences are disturbed, each once: half of them at one place (two neighbours
change places, a function word is lost, a word is said twice), else over a distance (a window is
reversed, two far words change places). First and last word stay, so that neither the capital nor
the full stop gives it away.
"""

from collections.abc import Callable, Sequence

from stages.core.random import Draws

LABELS = ("unacceptable", "acceptable")
_DISTANT_FRACTION = 0.5
_LEAST_DISTANCE = 3
_FUNCTION_WORDS = frozenset(
    {
        *("a", "an", "and", "are", "as", "at", "be", "been", "by", "can", "do", "does", "for"),
        *("from", "had", "has", "have", "if", "in", "into", "is", "it", "its", "must", "not", "of"),
        *("on", "or", "should", "such", "than", "that", "the", "their", "then", "there", "these"),
        *("they", "this", "those", "to", "was", "were", "when", "where", "which", "will", "with"),
        *("would"),
    }
)
Words = list[str]
Draw = Callable[[int], int]  # an integer below the one given


def make_acceptability(
    sentences: Sequence[str], *, seed: int, split: str
) -> tuple[list[str], list[int]]:
    """The sentences, about half of them disturbed, and their labels; 1 is acceptable."""
    draws = Draws(seed, f"tasks.sample.acceptability.{split}")
    texts, labels = [], []
    for index, sentence in enumerate(sentences):
        is_disturbed = bool(draws.uniform(index, 0) < 0.5)
        texts.append(disturb(sentence, draws, index) if is_disturbed else sentence)
        labels.append(0 if is_disturbed else 1)
    return texts, labels


def disturb(sentence: str, draws: Draws, index: int) -> str:
    """The sentence with its words disturbed; never the sentence itself. It has six words or more.

    A disturbance that changes nothing (a word swapped with its like) is drawn again.
    """
    words = sentence.split()
    counter = 0

    def draw(high: int) -> int:
        nonlocal counter
        counter += 1
        return int(draws.integers(high, index, counter))

    while True:
        is_distant = draw(1000) < 1000 * _DISTANT_FRACTION
        kinds = (_reverse_window, _exchange_distant) if is_distant else _LOCAL
        disturbed = kinds[draw(len(kinds))](list(words), draw)
        if disturbed != words:
            return " ".join(disturbed)


def _swap_neighbours(words: Words, draw: Draw) -> Words:
    place = 1 + draw(len(words) - 3)
    words[place], words[place + 1] = words[place + 1], words[place]
    return words


def _lose_function_word(words: Words, draw: Draw) -> Words:
    """Unchanged where there is none: the loss of a content word is often not noticed."""
    places = [place for place in range(1, len(words) - 1) if words[place] in _FUNCTION_WORDS]
    if places:
        del words[places[draw(len(places))]]
    return words


def _say_twice(words: Words, draw: Draw) -> Words:
    place = 1 + draw(len(words) - 2)
    words.insert(place, words[place])
    return words


def _reverse_window(words: Words, draw: Draw) -> Words:
    size = min(4 + draw(2), len(words) - 2)
    start = 1 + draw(len(words) - 1 - size)
    words[start : start + size] = words[start : start + size][::-1]
    return words


def _exchange_distant(words: Words, draw: Draw) -> Words:
    first = 1 + draw(len(words) - 2 - _LEAST_DISTANCE)
    second = first + _LEAST_DISTANCE + draw(len(words) - 1 - _LEAST_DISTANCE - first)
    words[first], words[second] = words[second], words[first]
    return words


_LOCAL = (_swap_neighbours, _lose_function_word, _say_twice)
