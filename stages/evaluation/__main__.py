"""Command line of the evaluation stage, and of what `pipelines` calls beside it."""

import sys

from stages.core.cli import stage_main
from stages.core.errors import ClozeError
from stages.evaluation.commands import COMMANDS
from stages.evaluation.params import EvaluationParams
from stages.evaluation.run import INPUTS, OUTPUTS, run


def command(name: str, argv: list[str]) -> int:
    """Run a command; our errors become a line and an exit code."""
    try:
        return COMMANDS[name](argv)
    except ClozeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        sys.exit(command(sys.argv[1], sys.argv[2:]))
    sys.exit(stage_main("evaluation", EvaluationParams, run, inputs=INPUTS, outputs=OUTPUTS))
