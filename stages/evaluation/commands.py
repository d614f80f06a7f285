"""What is called beside the stage itself: comparisons, and submissions to GLUE's server.

Each takes the words of its command line and returns its exit code.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from stages.core.settings import PARAMS_FILE, read_yaml
from stages.evaluation.comparison_report import write_comparison
from stages.evaluation.submission import faults_of, write_submission

_FAULTY = 3  # a bad artefact, as everywhere


def compare(argv: list[str]) -> int:
    """Write the comparison of the members in a folder."""
    parser = argparse.ArgumentParser(prog="python -m stages.evaluation compare")
    parser.add_argument("--members", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    write_comparison(arguments.members, arguments.out)
    return 0


def submission(argv: list[str]) -> int:
    """Write the zip for GLUE's test server, or hold any such zip against its rules."""
    parser = argparse.ArgumentParser(prog="python -m stages.evaluation submission")
    parser.add_argument("--finetuning", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--check", type=Path, help="a zip to look at; nothing is written")
    arguments = parser.parse_args(argv)
    if arguments.check is None:
        tasks = list(read_yaml(PARAMS_FILE)["finetuning"]["tasks"])
        facts = write_submission(arguments.finetuning, tasks, arguments.out)
        sys.stdout.writelines(f"{name}: {fact}\n" for name, fact in facts.items())
    looked_at = arguments.check or arguments.out
    faults = faults_of(looked_at)
    sys.stdout.writelines(f"{fault}\n" for fault in faults)
    sys.stdout.write(f"{looked_at}: {'refused' if faults else 'as the server asks for'}\n")
    return _FAULTY if faults else 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {"compare": compare, "submission": submission}
