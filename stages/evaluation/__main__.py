"""Command line of the evaluation stage."""

import sys

from stages.core.cli import stage_main
from stages.evaluation.params import EvaluationParams
from stages.evaluation.run import INPUTS, OUTPUTS, run

if __name__ == "__main__":
    sys.exit(stage_main("evaluation", EvaluationParams, run, inputs=INPUTS, outputs=OUTPUTS))
