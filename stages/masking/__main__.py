"""Command line of the masking stage."""

import sys

from stages.core.cli import stage_main
from stages.masking.params import MaskingParams
from stages.masking.run import run

if __name__ == "__main__":
    sys.exit(stage_main("masking", MaskingParams, run, inputs=("encoding", "tokenizer")))
