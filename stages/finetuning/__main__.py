"""Command line of the fine-tuning stage: one task a call."""

import os
import sys

from stages.core.cli import stage_main
from stages.finetuning.params import FinetuningParams

if __name__ == "__main__":
    # Before torch loads OpenMP: threads that wait spin, and on busy cores they starve each other;
    # asleep they make 200-320 examples/s there, spinning 27-63. Results are the same.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from stages.finetuning.run import run

    sys.exit(stage_main("finetuning", FinetuningParams, run, inputs=("start", "task"), item="TASK"))
