"""sample-continuation: does sentence B follow sentence A? GLUE's shape of a pair of two classes.

Pairs of one paragraph are preferred to those across its end. Every pair of neighbours gives one
example that follows and one that does not, whose B is another pair's, three times in four of
another document. So neither A nor B alone tells the class.
"""

from collections.abc import Sequence
from itertools import pairwise

from stages.core.random import Draws
from stages.tasks.passages import Passage

LABELS = ("not_next", "next")
_SAME_DOCUMENT_FRACTION = 0.25
_MAX_TRIES = 100
Pair = tuple[int, str, str]  # document, A, B


def neighbours(passages: Sequence[Passage], *, in_one_paragraph: bool) -> list[Pair]:
    """Every two sentences that stand side by side, in one paragraph or across its end."""
    return [
        (passage.document, passage.sentences[place], passage.sentences[place + 1])
        for passage in passages
        for place, (before, after) in enumerate(pairwise(passage.paragraphs))
        if (before == after) == in_one_paragraph
    ]


def make_continuation(
    pairs: Sequence[Pair], *, seed: int, split: str
) -> tuple[list[str], list[str], list[int]]:
    """Texts A, texts B and labels (1: B follows A), in random order."""
    draws = Draws(seed, f"tasks.sample.continuation.{split}")
    places: dict[int, list[int]] = {}
    for place, (document, _, _) in enumerate(pairs):
        places.setdefault(document, []).append(place)
    examples = []
    for index, (document, first, second) in enumerate(pairs):
        examples.append((first, second, 1))
        other = _other_second(pairs, places[document], index, draws)
        if other is not None:
            examples.append((first, other, 0))
    order = draws.permute(range(len(examples)), len(examples), 0)
    shuffled = [examples[place] for place in order]
    return (
        [first for first, _, _ in shuffled],
        [second for _, second, _ in shuffled],
        [label for _, _, label in shuffled],
    )


def _other_second(
    pairs: Sequence[Pair], own_places: Sequence[int], index: int, draws: Draws
) -> str | None:
    """The B of another pair; None where none is found (all pairs are of one short document)."""
    document, first, second = pairs[index]
    is_same = bool(draws.uniform(index, 0) < _SAME_DOCUMENT_FRACTION) and len(own_places) > 1
    for attempt in range(1, _MAX_TRIES):
        if is_same and attempt < _MAX_TRIES // 2:
            place = own_places[int(draws.integers(len(own_places), index, attempt))]
        else:
            place = int(draws.integers(len(pairs), index, attempt))
            if pairs[place][0] == document:
                continue
        other = pairs[place][2]
        if other not in (first, second):
            return other
    return None
