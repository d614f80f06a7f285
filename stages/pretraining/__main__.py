"""Command line of the pre-training stage."""

import sys

from stages.core.cli import stage_main
from stages.pretraining.params import PretrainingParams
from stages.pretraining.run import run, run_key

if __name__ == "__main__":
    sys.exit(
        stage_main(
            "pretraining",
            PretrainingParams,
            run,
            inputs=("encoding", "masking", "tokenizer"),
            run_key=run_key,
        )
    )
