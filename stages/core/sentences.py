"""Sentence splitting for every stage that needs sentences, through one kept library (sentencex).

In: a document's text, whose line ends are hard borders, and its language. Out: its sentences.
Long lines are split in windows: the library's time grows with the square of the sentences in one
call (15 s for 150,000 Chinese characters without a line end), and a window bounds it. Why this
library: docs/adr/0002-sentence-splitter.md.
"""

from collections.abc import Iterator

from sentencex import segment

from stages.core.errors import SettingsError

# The languages that sentencex 1.0 has rules of its own for, and Chinese, whose full stop is among
# its general ones. It takes any code and falls back to English in silence: others are refused.
SUPPORTED_LANGUAGES = (
    *("am", "ar", "bg", "bn", "ca", "da", "de", "el", "en", "es", "fi", "fr", "gu", "hi", "hy"),
    *("it", "ja", "kk", "kn", "ml", "mr", "my", "nl", "pa", "pl", "pt", "ru", "sk", "ta", "te"),
    *("uk", "zh"),
)
_WINDOW_CHARACTERS = 4000


def split_sentences(text: str, language: str) -> list[str]:
    """The sentences of a text in order, trimmed, none of them empty.

    A line end is always a border; nothing but white space at the borders is lost. Cost: about
    25-40 MB/s of English on one core, linear however long a line is.
    Raises: SettingsError: `language` has no rules.
    """
    require_language(language)
    return [
        sentence
        for line in text.split("\n")
        for piece in _split_line(line, language)
        if (sentence := piece.strip())
    ]


def require_language(language: str) -> None:
    """Refuse a language that sentences cannot be split in.

    Raises: SettingsError: with the list of those that can.
    """
    if language not in SUPPORTED_LANGUAGES:
        raise SettingsError(
            f"language is {language!r}, expected one with sentence rules: "
            f"{', '.join(SUPPORTED_LANGUAGES)}"
        )


def _split_line(line: str, language: str) -> Iterator[str]:
    """Split one line; the last piece of a window is carried into the next, where it may go on.

    A window without any border is set aside whole, so that a line without borders is seen once.
    """
    if len(line) <= _WINDOW_CHARACTERS:
        yield from segment(language, line)
        return
    begun: list[str] = []
    start = 0
    while start + _WINDOW_CHARACTERS < len(line):
        first, *others = segment(language, line[start : start + _WINDOW_CHARACTERS])
        begun.append(first)
        start += len(first)
        if others:
            yield "".join(begun)
            begun.clear()
            yield from others[:-1]
            start += sum(map(len, others[:-1]))
    first, *others = segment(language, line[start:])
    yield "".join([*begun, first])
    yield from others
