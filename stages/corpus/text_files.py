"""Plain text: bytes to lines to documents, with invalid UTF-8 replaced and counted.

Bytes that are no UTF-8 are decoded to lone surrogates, one a byte, which are then counted and
replaced by U+FFFD; so a share of a file's bytes is exact, and streaming costs nothing more.
"""

import io
from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

from stages.core.errors import ArtifactError
from stages.corpus.documents import MAX_DOCUMENT_CHARACTERS
from stages.corpus.surrogates import replace_surrogates

_SNIFFED_BYTES = 1 << 16
# Bytes that text hardly holds: C0 controls less tab, line ends, form feed, escape.
_CONTROL_BYTES = bytes(sorted(set(range(32)) - {9, 10, 11, 12, 13, 27}))
_MAX_CONTROL_FRACTION = 0.02


@runtime_checkable
class ByteStream(Protocol):
    """Anything that bytes are read from: a file, a decompressor, a remote object."""

    def read(self, size: int = ..., /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


class Utf8Text:
    """Decodes one file's text and counts what was invalid."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bytes = 0
        self.replaced_bytes = 0

    def decode(self, value: bytes) -> str:
        """Decode one value."""
        self.bytes += len(value)
        return self._repair(value.decode("utf-8", "surrogateescape"))

    def lines(self, stream: ByteStream, *, is_cut: bool = True) -> Iterator[str]:
        r"""Lines with their `\n` (any line end is one); a line longer than a document is cut.

        Raises: ArtifactError: the file is empty or looks binary.
        """
        limit = MAX_DOCUMENT_CHARACTERS if is_cut else -1
        buffered = io.BufferedReader(stream, _SNIFFED_BYTES)  # type: ignore[type-var]
        refuse_binary(self.name, buffered.peek(_SNIFFED_BYTES))
        reader = io.TextIOWrapper(buffered, "utf-8", "surrogateescape", newline=None)
        while line := reader.readline(limit):
            self.bytes += len(line) if line.isascii() else len(line.encode("utf-8", "replace"))
            yield self._repair(line)

    def refuse_past(self, max_fraction: float) -> None:
        """Refuse the file if too much of it was invalid.

        Raises: ArtifactError: more than `max_fraction` of its bytes are no UTF-8.
        """
        if self.replaced_bytes > max_fraction * self.bytes:
            raise ArtifactError(
                f"{self.name}: {self.replaced_bytes} of {self.bytes} bytes are no valid UTF-8 "
                f"({self.replaced_bytes / self.bytes:.2%}), expected at most {max_fraction:.2%} "
                "(corpus.cleaning.max_invalid_utf8_fraction); convert the file to UTF-8"
            )

    def _repair(self, text: str) -> str:
        text, replaced = replace_surrogates(text)
        self.replaced_bytes += replaced
        return text


def refuse_binary(name: str, head: bytes) -> None:
    """Refuse a file that is empty or whose beginning is no text.

    Raises: ArtifactError: it is.
    """
    if not head:
        raise ArtifactError(f"{name}: the file is empty, expected text; remove it or its pattern")
    control = len(head) - len(head.translate(None, _CONTROL_BYTES))
    if control > _MAX_CONTROL_FRACTION * len(head):
        raise ArtifactError(
            f"{name}: looks binary ({control} control bytes in its first {len(head)}), expected "
            "UTF-8 text; convert it, or leave it out of corpus.files.patterns"
        )


def documents_of_lines(lines: Iterable[str], *, is_cut_at_blank_lines: bool) -> Iterator[str]:
    """Gather lines into documents: all of them, or up to each blank line.

    A document that grows past the longest allowed ends there and goes on as the next one.
    """
    gathered: list[str] = []
    characters = 0
    for line in lines:
        is_end = is_cut_at_blank_lines and not line.strip()
        if is_end or characters + len(line) > MAX_DOCUMENT_CHARACTERS:
            if gathered:
                yield "".join(gathered)
            gathered, characters = [], 0
        if not is_end:
            gathered.append(line)
            characters += len(line)
    if gathered:
        yield "".join(gathered)
