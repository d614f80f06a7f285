"""Command line of the fine-tuning stage: one task a call."""

import sys

from stages.core.cli import stage_main
from stages.finetuning.params import FinetuningParams
from stages.finetuning.run import run

if __name__ == "__main__":
    sys.exit(stage_main("finetuning", FinetuningParams, run, inputs=("start", "task"), item="TASK"))
