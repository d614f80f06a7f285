"""Command line of the pre-training stage."""

import sys

from stages.core.cli import stage_main
from stages.pretraining.identity import run_key
from stages.pretraining.params import INPUTS, PretrainingParams
from stages.pretraining.run import run

if __name__ == "__main__":
    sys.exit(
        stage_main(
            "pretraining",
            PretrainingParams,
            run,
            inputs=INPUTS,
            run_key=run_key,
        )
    )
