"""What a vocabulary costs on held-out text.

In: a tokenizer and validation text. Out: fertility, unknown share and coverage, as defined below.
The text is read up to a fixed size in corpus order, so that the cost is bounded.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray
from tokenizers import Tokenizer

from stages.core.errors import ArtifactError
from stages.core.word_borders import CONTINUING_PREFIX, SPACE_MARKS, is_unused

_MARKS = "".join(SPACE_MARKS.values())
_MOST_BYTES = 4_000_000
_BATCH_LINES = 2000


@dataclass
class Counts:
    """Sums over the text; a word is what the tokenizer takes for one, unless said otherwise."""

    bytes: int = 0
    whitespace_words: int = 0
    words: int = 0
    whole_words: int = 0
    tokens: int = 0
    unknown: int = 0


def describe_text(
    tokenizer: Tokenizer, texts: Iterable[str], unk_id: int, starts: Bool[ndarray, "V"]
) -> dict[str, float | int]:
    """Measure a tokenizer on text; `starts` says which entries begin a word.

    Returns: fertility: tokens per word between white space. unknown_share: [UNK] per token.
    coverage: share of the tokenizer's words (punctuation marks are words too) that are one known
    entry. tokens_per_byte; and the counts that they are made of.
    Raises: ArtifactError: the text is empty.
    """
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.encode_special_tokens = True  # "[MASK]" in a text is text
    counts = Counts()
    for lines in _batches(texts):
        counts.bytes += sum(len(line.encode()) for line in lines)
        counts.whitespace_words += sum(len(line.split()) for line in lines)
        for encoding in plain.encode_batch_fast(lines, add_special_tokens=False):
            _count(np.array(encoding.ids, dtype=np.int64), starts, unk_id, counts)
    if not counts.tokens:
        raise ArtifactError("corpus: validation holds no text to measure a vocabulary on")
    return {
        "fertility": counts.tokens / max(1, counts.whitespace_words),
        "unknown_share": counts.unknown / counts.tokens,
        "coverage": counts.whole_words / counts.words,
        "tokens_per_byte": counts.tokens / counts.bytes,
        **asdict(counts),
    }


def _count(
    ids: Int64[ndarray, "T"], starts: Bool[ndarray, "V"], unk_id: int, counts: Counts
) -> None:
    begins = starts[ids]
    ends = np.append(begins[1:], True)[: len(ids)]
    counts.tokens += len(ids)
    counts.words += int(begins.sum())
    counts.unknown += int((ids == unk_id).sum())
    counts.whole_words += int((begins & ends & (ids != unk_id)).sum())


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    total = 0
    for text in texts:
        for line in text.split("\n"):
            batch.append(line)
            total += len(line)
            if len(batch) == _BATCH_LINES:
                yield batch
                batch = []
        if total >= _MOST_BYTES:
            break
    yield batch


def describe_vocabulary(
    entries: Iterable[str], starts: Bool[ndarray, "V"], special_tokens: Collection[str]
) -> dict[str, int]:
    """Facts of the entries: how many continue a word, are one character, and the longest."""
    words = [
        (entry.removeprefix(CONTINUING_PREFIX).lstrip(_MARKS), bool(is_start))
        for entry, is_start in zip(entries, starts, strict=True)
        if entry not in special_tokens and not is_unused(entry)
    ]
    return {
        "continuing_entries": sum(not is_start for _, is_start in words),
        "characters": len({text for text, _ in words if len(text) == 1}),
        "longest_entry_characters": max((len(text) for text, _ in words), default=0),
    }
