"""Filters that look at one cleaned document: keep it, or drop it for a reason that is counted."""

from typing import Literal

EMPTY = "empty"
SHORT = "short"
CONTAMINATED = "contaminated"
EXACT_DUPLICATE = "exact-duplicate"
NEAR_DUPLICATE = "near-duplicate"

Verdict = Literal[True] | tuple[Literal[False], str]


def filter_length(text: str, *, min_document_characters: int) -> Verdict:
    """Keep a text with enough characters; else `(False, "empty")` or `(False, "short")`."""
    if not text:
        return False, EMPTY
    if len(text) < min_document_characters:
        return False, SHORT
    return True


def filter_contamination(
    cut_fraction: float, kept: str, *, max_cut_fraction: float, min_document_characters: int
) -> Verdict:
    """Keep what a cut left; `(False, "contaminated")` if too much went or too little is left."""
    if cut_fraction > max_cut_fraction or len(kept) < min_document_characters:
        return False, CONTAMINATED
    return True
