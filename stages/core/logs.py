"""Logging of a stage process: one line an event on standard error, set up once, no secrets."""

import logging
import sys
import traceback
from types import TracebackType

from stages.core.secrets import redacted


class _Formatter(logging.Formatter):
    """Replaces secrets, in tracebacks too."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def set_up_logging(stage: str) -> None:
    """Send this process's log to standard error as `time stage message`."""
    formatter = _Formatter(f"%(asctime)s {stage} %(message)s", datefmt="%H:%M:%S")
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(logging.WARNING)
    for name in ("__main__", "stages", "pipelines"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = _tell_crash


def fields(event: str, **values: object) -> str:
    """`event key=value key=value`: numbers short, units in the key."""
    parts = [f"{key}={_short(value)}" for key, value in values.items()]
    return " ".join([event, *parts])


def _tell_crash(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Show the traceback of a bug as Python does, less its secrets."""
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
