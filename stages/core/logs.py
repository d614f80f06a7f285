"""Logging of a stage process: one line an event, on standard error, set up once."""

import logging
import sys


def set_up_logging(stage: str) -> None:
    """Send this process's log to standard error as `time stage message`."""
    formatter = logging.Formatter(f"%(asctime)s {stage} %(message)s", datefmt="%H:%M:%S")
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(logging.WARNING)
    for name in ("__main__", "stages", "pipelines"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(True)


def fields(event: str, **values: object) -> str:
    """`event key=value key=value`: numbers short, units in the key."""
    parts = [f"{key}={_short(value)}" for key, value in values.items()]
    return " ".join([event, *parts])


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
