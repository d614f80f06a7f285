"""Command line of the tokenizer stage."""

import sys

from stages.core.cli import stage_main
from stages.tokenizer.params import TokenizerParams
from stages.tokenizer.run import run

if __name__ == "__main__":
    sys.exit(stage_main("tokenizer", TokenizerParams, run, inputs=("corpus",)))
