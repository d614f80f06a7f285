"""Train a WordPiece vocabulary that is the same in every process.

`WordPieceTrainer` numbers the `##x` pieces in the order of a hash map that is seeded anew in each
process, and breaks ties between equally frequent pairs by those numbers: the same text gives other
vocabularies. So we choose the alphabet ourselves, and pass it and its `##` forms in a fixed order
as the trainer's first entries, with the numbers that decide ties.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer

from stages.core.errors import ArtifactError, SettingsError
from stages.core.word_borders import CONTINUING_PREFIX
from stages.tokenizer.wordpiece import (
    SPECIAL_TOKENS,
    bare_tokenizer,
    entries_in_order,
)

# A pair of pieces seen once is no pattern; a word longer than 100 characters is [UNK] to the model.
_MIN_FREQUENCY = 2
_TOO_LONG = re.compile(r"(?<!\S)\S{101,}")
# Share of the text's characters that get entries; the rest (1,400 of 1,700 in Wikipedia) is [UNK].
_ALPHABET_COVERAGE = 0.9999
_CODE_POINTS = 0x110000
_COUNT_CHARACTERS = 1 << 20


def train_vocabulary(
    texts: Callable[[], Iterable[str]], *, vocab_size: int, lowercase: bool
) -> list[str]:
    """Train on `texts()`, read twice; returns the entries by id: specials, alphabet, pieces.

    Cost: about 1.6 MB/s a core, most of it the normaliser.
    Raises: SettingsError: the text gives fewer entries than `vocab_size`, or its characters alone
    need more. ArtifactError: there is no text.
    """
    tokenizer = bare_tokenizer(WordPiece(unk_token=SPECIAL_TOKENS["unk"]), lowercase=lowercase)
    counts = count_characters(_without_long_words(texts()))
    alphabet = choose_alphabet(counts, tokenizer)
    continuing = [
        CONTINUING_PREFIX + letter for letter in alphabet if _can_continue(letter, tokenizer)
    ]
    first = [*SPECIAL_TOKENS.values(), *alphabet, *continuing]
    _require_room(vocab_size, num_characters=len(alphabet), num_first=len(first))
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=_MIN_FREQUENCY,
        special_tokens=first,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        continuing_subword_prefix=CONTINUING_PREFIX,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_without_long_words(texts()), trainer)
    entries = entries_in_order(tokenizer)
    if len(entries) < vocab_size:
        raise SettingsError(
            f"tokenizer.vocab_size is {vocab_size}, but the text can give only {len(entries)} "
            f"entries; lower it to at most {len(entries)}, or give more text (the corpus, or "
            "tokenizer.sample_bytes)"
        )
    return entries


def _require_room(vocab_size: int, *, num_characters: int, num_first: int) -> None:
    if not num_characters:
        raise ArtifactError("corpus: train holds no text to train a vocabulary on; run corpus")
    if num_first > vocab_size:
        raise SettingsError(
            f"tokenizer.vocab_size is {vocab_size}, expected at least {num_first}: the special "
            "tokens and the characters of the text need as many"
        )


def count_characters(texts: Iterable[str]) -> Int64[ndarray, "code_points"]:
    """How often each code point occurs."""
    counts = np.zeros(_CODE_POINTS, dtype=np.int64)
    for block in _blocks(texts):
        points = np.frombuffer(block.encode("utf-32-le"), dtype="<u4")
        seen = np.bincount(points)
        counts[: len(seen)] += seen
    return counts


def choose_alphabet(counts: Int64[ndarray, "code_points"], tokenizer: Tokenizer) -> list[str]:
    """The fewest characters that cover nearly all of the text, sorted by code point.

    Characters are as the normaliser leaves them (it works on each by itself); of equally frequent
    ones the lower code point goes first; one seen only once is left out.
    """
    normalised: Counter[str] = Counter()
    for point in np.flatnonzero(counts):
        for letter in tokenizer.normalizer.normalize_str(chr(point)):
            if not letter.isspace():
                normalised[letter] += int(counts[point])
    wanted = normalised.total() * _ALPHABET_COVERAGE
    alphabet: list[str] = []
    covered = 0
    for letter in sorted(normalised, key=lambda letter: (-normalised[letter], letter)):
        if covered >= wanted or normalised[letter] < _MIN_FREQUENCY:
            break
        alphabet.append(letter)
        covered += normalised[letter]
    return sorted(alphabet)


def _can_continue(letter: str, tokenizer: Tokenizer) -> bool:
    """Whether a letter can stand inside a word: punctuation and Chinese characters never do."""
    text = tokenizer.normalizer.normalize_str(f"a{letter}")
    return len(tokenizer.pre_tokenizer.pre_tokenize_str(text)) == 1


def _without_long_words(texts: Iterable[str]) -> Iterator[str]:
    return (_TOO_LONG.sub(" ", text) for text in texts)


def _blocks(texts: Iterable[str]) -> Iterator[str]:
    """Texts joined to blocks of about a million characters."""
    block: list[str] = []
    size = 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size >= _COUNT_CHARACTERS:
            yield "".join(block)
            block, size = [], 0
    yield "".join(block)
