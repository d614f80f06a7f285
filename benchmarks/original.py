"""BERT's instances as its authors' script builds them: documents of lists, one token at a time.

This is what next sentence prediction is compared against: plain Python, one process, everything in
memory. Written from the steps of Devlin et al. 2019 (appendix A.2) and of create_pretraining_data,
with the original's shape kept: each pass visits every document, and each instance carries its own
lists. Tokens are ids from the start, and nothing is written.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Sentence = list[int]
Document = list[Sentence]
_DRAWS_OF_ANOTHER_DOCUMENT = 10


@dataclass(frozen=True)
class OriginalSettings:
    """What the script takes from its flags and its vocabulary."""

    max_seq_length: int
    duplication_factor: int
    short_sequence_probability: float
    mlm_probability: float
    max_predictions: int
    cls: int
    sep: int
    mask: int
    words: Sequence[int]
    """What a random replacement is drawn from."""

    @property
    def max_num_tokens(self) -> int:
        """Text tokens in a sequence: [CLS], [SEP], [SEP] taken off."""
        return self.max_seq_length - 3


class Instance(NamedTuple):
    """One finished example."""

    tokens: list[int]
    token_type_ids: list[int]
    is_random_next: bool
    masked_positions: list[int]
    masked_labels: list[int]


class _Chunk(NamedTuple):
    """Segments A and B, and how many of the chunk's sentences go back."""

    a: list[int]
    b: list[int]
    is_random_next: bool
    num_unused: int


def create_instances(
    documents: list[Document], settings: OriginalSettings, seed: int
) -> list[Instance]:
    """All passes over the shuffled documents, the instances shuffled at the end."""
    draw = random.Random(seed)
    documents = list(documents)
    draw.shuffle(documents)
    instances = [
        instance
        for _ in range(settings.duplication_factor)
        for number in range(len(documents))
        for instance in _of_document(documents, number, settings, draw)
    ]
    draw.shuffle(instances)
    return instances


def _of_document(
    documents: list[Document], number: int, settings: OriginalSettings, draw: random.Random
) -> Iterator[Instance]:
    """Chunks of whole sentences up to this visit's target length, one instance each."""
    document = documents[number]
    target = settings.max_num_tokens
    if draw.random() < settings.short_sequence_probability:
        target = draw.randint(2, target)
    chunk: list[Sentence] = []
    length = at = 0
    while at < len(document):
        chunk.append(document[at])
        length += len(document[at])
        if at == len(document) - 1 or length >= target:
            pair = _split(chunk, target, documents, number, draw)
            at -= pair.num_unused
            _truncate(pair.a, pair.b, settings.max_num_tokens, draw)
            yield _finish(pair, settings, draw)
            chunk, length = [], 0
        at += 1


def _split(
    chunk: list[Sentence],
    target: int,
    documents: list[Document],
    number: int,
    draw: random.Random,
) -> _Chunk:
    """Segment A from the chunk's front, B from its rest or, half of the time, from elsewhere."""
    a_end = draw.randint(1, len(chunk) - 1) if len(chunk) >= 2 else 1
    a: list[int] = []
    for sentence in chunk[:a_end]:
        a.extend(sentence)
    b: list[int] = []
    if len(chunk) > 1 and draw.random() >= 0.5:
        for sentence in chunk[a_end:]:
            b.extend(sentence)
        return _Chunk(a, b, False, 0)
    for _ in range(_DRAWS_OF_ANOTHER_DOCUMENT):
        other = draw.randint(0, len(documents) - 1)
        if other != number:
            break
    start = draw.randint(0, len(documents[other]) - 1)
    for sentence in documents[other][start:]:
        b.extend(sentence)
        if len(b) >= target - len(a):
            break
    return _Chunk(a, b, True, len(chunk) - a_end)


def _truncate(a: list[int], b: list[int], max_num_tokens: int, draw: random.Random) -> None:
    """Take tokens off the longer segment, front or back, until both fit."""
    while len(a) + len(b) > max_num_tokens:
        longer = a if len(a) > len(b) else b
        if draw.random() < 0.5:
            del longer[0]
        else:
            longer.pop()


def _finish(pair: _Chunk, settings: OriginalSettings, draw: random.Random) -> Instance:
    """Special tokens and token types around the segments, then the masks."""
    tokens = [settings.cls, *pair.a, settings.sep, *pair.b, settings.sep]
    types = [0] * (len(pair.a) + 2) + [1] * (len(pair.b) + 1)
    shown, positions, labels = _mask(tokens, settings, draw)
    return Instance(shown, types, pair.is_random_next, positions, labels)


def _mask(
    tokens: list[int], settings: OriginalSettings, draw: random.Random
) -> tuple[list[int], list[int], list[int]]:
    """Shuffled candidates up to the budget; 80 % [MASK], 10 % as it is, 10 % a random word."""
    special = (settings.cls, settings.sep)
    candidates = [place for place, token in enumerate(tokens) if token not in special]
    draw.shuffle(candidates)
    shown = list(tokens)
    wanted = max(1, round(len(tokens) * settings.mlm_probability))
    positions = sorted(candidates[: min(settings.max_predictions, wanted)])
    for place in positions:
        if draw.random() < 0.8:
            shown[place] = settings.mask
        elif draw.random() >= 0.5:
            shown[place] = settings.words[draw.randint(0, len(settings.words) - 1)]
    return shown, positions, [tokens[place] for place in positions]
