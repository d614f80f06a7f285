"""Progress of a long loop: a bar on a terminal, one log line per interval elsewhere."""

import logging
import sys
import time
from types import TracebackType

from stages.core.logs import fields

log = logging.getLogger(__name__)
_LINE_INTERVAL_SECONDS = 10.0
_BAR_INTERVAL_SECONDS = 0.1
_BAR_WIDTH = 24


class Progress:
    """Counts towards `total`; use as a context manager and call `advance`."""

    def __init__(
        self, label: str, *, total: int, unit: str, done: int = 0, is_quiet: bool = False
    ) -> None:
        """`is_quiet`: the caller logs lines of its own, so that only a terminal gets a bar."""
        self._is_quiet = is_quiet
        self._label, self._total, self._unit = label, total, unit
        self._done = self._begun_at = done
        self._started = self._shown = time.monotonic()
        self._is_terminal = sys.stderr.isatty()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count, and show it when the interval has passed."""
        self._done += count
        now = time.monotonic()
        interval = _BAR_INTERVAL_SECONDS if self._is_terminal else _LINE_INTERVAL_SECONDS
        if now - self._shown < interval:
            return
        self._shown = now
        rate = (self._done - self._begun_at) / max(1e-9, now - self._started)
        left = (self._total - self._done) / rate if rate else 0.0
        if self._is_terminal:
            filled = _BAR_WIDTH * self._done // max(1, self._total)
            bar = "█" * filled + "·" * (_BAR_WIDTH - filled)
            sys.stderr.write(
                f"\r\x1b[K{self._label} {bar} {self._done}/{self._total} {self._unit}s "
                f"{rate:.3g}/s {left:.0f} s left {note}"
            )
            sys.stderr.flush()
        elif not self._is_quiet:
            log.info(
                "%s",
                fields(
                    self._label,
                    done=self._done,
                    of=self._total,
                    unit=self._unit,
                    per_second=rate,
                    left_seconds=round(left),
                ),
            )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
