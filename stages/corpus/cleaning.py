"""Cleaning of one text: Unicode form, control characters, white space, hard-wrapped lines.

Out comes text whose lines are paragraphs: no empty line, no run of white space, no control
character. What is replaced is counted; what is dropped is for the filters to say.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from stages.corpus.surrogates import replace_surrogates

# Every line end of Unicode, so that `\n` is the only one left.
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# C0 and C1 controls but tab and line end, byte order mark, soft hyphen, word joiner, bidi controls.
# Zero-width joiners stay: Persian, Indic scripts and emoji need them.
_CONTROLS = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)


@dataclass(frozen=True)
class CleanText:
    """A cleaned text and how many invalid characters were replaced in it."""

    text: str
    replaced: int


def clean(
    text: str, *, unicode_form: Literal["NFC", "NFKC"], is_hard_wrapped: bool = False
) -> CleanText:
    """Clean a text into paragraphs, one a line; an idempotent function but for the count."""
    text, replaced = replace_surrogates(text)
    text = _LINE_ENDS.sub("\n", text)
    text = _CONTROLS.sub("", text)
    if not text.isascii():
        text = unicodedata.normalize(unicode_form, text)
    lines = text.split("\n")
    paragraphs = _joined_blocks(lines) if is_hard_wrapped else (" ".join(x.split()) for x in lines)
    return CleanText("\n".join(paragraph for paragraph in paragraphs if paragraph), replaced)


def _joined_blocks(lines: list[str]) -> Iterator[str]:
    """One paragraph for each block of lines between blank ones."""
    block: list[str] = []
    for line in lines:
        words = line.split()
        if not words and block:
            yield " ".join(block)
            block = []
        block.extend(words)
    yield " ".join(block)
