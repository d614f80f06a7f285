"""Command line of the evaluation stage, and of what `pipelines` calls beside it."""

import sys

from stages.core.cli import command_main, stage_main
from stages.evaluation.commands import COMMANDS
from stages.evaluation.params import EvaluationParams
from stages.evaluation.run import INPUTS, OUTPUTS, run

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        sys.exit(command_main("evaluation", COMMANDS, sys.argv[1:]))
    sys.exit(stage_main("evaluation", EvaluationParams, run, inputs=INPUTS, outputs=OUTPUTS))
