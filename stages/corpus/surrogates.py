"""Lone surrogates: what is left in a Python string of bytes that are no UTF-8, or of broken JSON.

They cannot be written as UTF-8 again, so each becomes U+FFFD, counted.
"""

import re

REPLACEMENT = "\ufffd"
_SURROGATES = re.compile("[\ud800-\udfff]")


def replace_surrogates(text: str) -> tuple[str, int]:
    """Put U+FFFD for lone surrogates; returns the text and how many there were."""
    return (text, 0) if text.isascii() else _SURROGATES.subn(REPLACEMENT, text)
