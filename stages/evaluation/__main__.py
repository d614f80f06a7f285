"""Command line of the evaluation stage, and of `compare`, which `pipelines compare` calls."""

import argparse
import sys
from pathlib import Path

from stages.core.cli import stage_main
from stages.core.errors import ClozeError
from stages.evaluation.comparison_report import write_comparison
from stages.evaluation.params import EvaluationParams
from stages.evaluation.run import INPUTS, OUTPUTS, run


def compare(argv: list[str]) -> int:
    """Write the comparison of the members in a folder."""
    parser = argparse.ArgumentParser(prog="python -m stages.evaluation compare")
    parser.add_argument("--members", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    try:
        write_comparison(arguments.members, arguments.out)
    except ClozeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["compare"]:
        sys.exit(compare(sys.argv[2:]))
    sys.exit(stage_main("evaluation", EvaluationParams, run, inputs=INPUTS, outputs=OUTPUTS))
