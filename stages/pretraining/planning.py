"""What a training will take, before it runs: the command behind `python -m pipelines plan`.

In: params.yaml, the artefacts that training will read where they are there, a machine's name. Out:
a plan as JSON on standard output. Nothing is written. torch is imported when the words are checked.
"""

import argparse
import json
import logging
import os
import sys
from pathlib import Path

from stages.core.errors import ClozeError
from stages.core.logs import set_up_logging
from stages.core.settings import PARAMS_FILE
from stages.pretraining.launchers.torchrun import ALLOCATOR
from stages.pretraining.machines import named_machine, this_machine
from stages.pretraining.params import INPUTS

log = logging.getLogger(__name__)
_MODULE = "stages.pretraining.planning"


def main() -> int:
    """Plan from the command line; exit codes as for every stage, 0 also where it does not fit."""
    set_up_logging("pretraining")
    arguments = _parser().parse_args()
    given = {name: getattr(arguments, name) for name in INPUTS}
    paths = {name: path for name, path in given.items() if path is not None}
    try:
        named = named_machine(arguments.machine) if arguments.machine else None
        _ensure_allocator()
        from stages.pretraining.estimates import make_plan, read_given

        plan = make_plan(read_given(arguments.params, named or this_machine(), paths))
    except ClozeError as error:
        log.error("%s", error)
        return error.exit_code
    sys.stdout.write(json.dumps(plan, indent=2) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}")
    parser.add_argument("--params", type=Path, default=PARAMS_FILE)
    parser.add_argument("--machine", help="a machine by name; without it this one is measured")
    for name in INPUTS:
        parser.add_argument(f"--{name}", type=Path, help="the artefact, where it is there")
    return parser


def _ensure_allocator() -> None:
    """Begin again as workers are started, where need be: their speed depends on the allocator."""
    if not ALLOCATOR.items() <= os.environ.items():
        command = [sys.executable, "-m", _MODULE, *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **ALLOCATOR})  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
