"""WordPiece for plain ASCII in few steps: what is most of a corpus never has to reach `tokenizers`.

For printable ASCII BERT's normaliser does no more than lower case, its pre-tokenizer no more than
set punctuation apart. Whatever holds another character is refused (None), and is the tokenizer's to
encode; the tests hold both equal on every real line.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tokenizers import Tokenizer

_MOST_WORDS = 500_000
_PLAIN = re.compile(r"[!-~]*")
_WORDS = re.compile(r"[0-9A-Za-z]+|[!-/:-@\[-`{-~]")


@dataclass(frozen=True)
class PlainWordPiece:
    """Greedy longest match first, over a vocabulary."""

    entries: Mapping[str, int]
    unknown: int
    prefix: str
    """What entries begin with that go on a word."""
    max_characters: int
    """Longer words are unknown."""
    lowercase: bool
    longest_entry: int
    words: dict[str, list[int]] = field(default_factory=dict)
    """Words that were cut up before."""

    def encode(self, text: str) -> list[int] | None:
        """The ids of a text without spaces; None where it is not printable ASCII."""
        if not _PLAIN.fullmatch(text):
            return None
        if self.lowercase:
            text = text.lower()
        whole = self.entries.get(text)
        if whole is not None and text.isalnum() and len(text) <= self.max_characters:
            return [whole]
        if len(self.words) > _MOST_WORDS:
            self.words.clear()
        known, ids = self.words, []
        for word in _WORDS.findall(text):
            found = known.get(word)
            if found is None:
                found = known[word] = self._cut(word)
            ids += found
        return ids

    def _cut(self, word: str) -> list[int]:
        """Greedy longest match first."""
        if len(word) > self.max_characters:
            return [self.unknown]
        ids: list[int] = []
        start, prefix = 0, ""
        while start < len(word):
            end = min(len(word), start + self.longest_entry)
            while end > start:
                found = self.entries.get(prefix + word[start:end])
                if found is not None:
                    break
                end -= 1
            else:
                return [self.unknown]
            ids.append(found)
            start, prefix = end, self.prefix
        return ids


def plain_wordpiece(tokenizer: Tokenizer) -> PlainWordPiece | None:
    """The shortcut for a tokenizer with BERT's rules around it; None where it is no WordPiece."""
    described = json.loads(tokenizer.to_str())
    model, normalizer = described["model"], described["normalizer"] or {}
    if model["type"] != "WordPiece":
        return None
    entries = model["vocab"]
    return PlainWordPiece(
        entries=entries,
        unknown=entries[model["unk_token"]],
        prefix=model["continuing_subword_prefix"],
        max_characters=model["max_input_chars_per_word"],
        lowercase=normalizer.get("lowercase", False),
        longest_entry=max(map(len, entries)),
    )
