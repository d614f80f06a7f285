"""What a check of `doctor` found: a level, the facts, and what to do about them."""

from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple


class Level(Enum):
    """How bad it is; the value is what a person reads."""

    OK = "ok"
    WARNING = "warning"
    """It works now, and may cost time or be wrong later."""
    PROBLEM = "problem"
    """Something will fail."""


class Finding(NamedTuple):
    """One line of the report."""

    level: Level
    found: str
    advice: str = ""


Check = Callable[[Path], Iterator[Finding]]
"""Looks at one thing of the checkout that it is given; yields at least one finding."""


def ok(found: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, found)


def warning(found: str, advice: str) -> Finding:
    """It works now, and may cost time or be wrong later."""
    return Finding(Level.WARNING, found, advice)


def problem(found: str, advice: str) -> Finding:
    """Something will fail."""
    return Finding(Level.PROBLEM, found, advice)
