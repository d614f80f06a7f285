"""Command line of the encoding stage."""

import sys

from stages.core.cli import stage_main
from stages.encoding.params import EncodingParams
from stages.encoding.run import run

if __name__ == "__main__":
    sys.exit(stage_main("encoding", EncodingParams, run, inputs=("corpus", "tokenizer")))
