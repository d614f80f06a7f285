"""What is called beside the stage itself: the promotion gate, champions by hand, their history.

Each takes the words of its command line, and prints its outcome as JSON on the last line of
standard output.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.core.errors import SettingsError
from stages.core.settings import PARAMS_FILE, load_section, read_yaml
from stages.core.tracking.store import connect, tracking_errors
from stages.registration.params import RegistrationParams
from stages.registration.promotion import Promotions, sole_mover


def gate(argv: list[str]) -> None:
    """Judge the candidate by the rule, and move the champion's aliases if it passes."""
    parser = _parser("gate")
    parser.add_argument("--out", type=Path, required=True, help="folder of the reports")
    arguments = parser.parse_args(argv)
    leaves_out = _left_out(arguments.params)
    with _promotions(arguments.params) as promotions:
        _print(promotions.gate(leaves_out, arguments.out))


def promote(argv: list[str]) -> None:
    """Make a version the champion, with the task models registered with it."""
    parser = _parser("promote")
    parser.add_argument("--version", type=int, help="of the encoder; without it the candidate")
    parser.add_argument("--reason", required=True)
    arguments = parser.parse_args(argv)
    reason = _reason(arguments.reason)
    with _promotions(arguments.params) as promotions:
        version = None if arguments.version is None else str(arguments.version)
        _print(promotions.promote(version, reason))


def rollback(argv: list[str]) -> None:
    """Make the champions before the present ones champions again."""
    parser = _parser("rollback")
    parser.add_argument("--reason", required=True)
    arguments = parser.parse_args(argv)
    reason = _reason(arguments.reason)
    with _promotions(arguments.params) as promotions:
        _print(promotions.rollback(reason))


def history(argv: list[str]) -> None:
    """Print every decision, oldest first."""
    arguments = _parser("history").parse_args(argv)
    with _promotions(arguments.params) as promotions:
        _print([entry.described() for entry in promotions.history.entries()])


def champion(argv: list[str]) -> None:
    """Print the champion's encoder, and the content hashes of what it was made from."""
    arguments = _parser("champion").parse_args(argv)
    with _promotions(arguments.params) as promotions:
        _print(promotions.describe_champion())


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "gate": gate,
    "promote": promote,
    "rollback": rollback,
    "history": history,
    "champion": champion,
}


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m stages.registration {name}")
    parser.add_argument("--params", type=Path, default=PARAMS_FILE)
    return parser


def _left_out(file: Path) -> list[str]:
    """The tasks that do not count in the macro score, which evaluation's settings name."""
    evaluation = read_yaml(file).get("evaluation")
    names = evaluation.get("macro_score_leaves_out") if isinstance(evaluation, dict) else None
    if not isinstance(names, list):
        raise SettingsError(
            f"{file}: evaluation.macro_score_leaves_out is {names!r}, expected a list of tasks, "
            "which may be empty; run python -m pipelines check"
        )
    return names


def _reason(text: str) -> str:
    if not text.strip():
        raise SettingsError("--reason is empty, expected why: it is kept with the versions")
    return text.strip()


@contextmanager
def _promotions(file: Path) -> Iterator[Promotions]:
    params = load_section(RegistrationParams, "registration", file)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with sole_mover():
        store = connect()
        with tracking_errors("cannot decide on the champion"):
            yield Promotions(params, store)


def _print(outcome: Any) -> None:
    sys.stdout.write(json.dumps(outcome, ensure_ascii=False) + "\n")
