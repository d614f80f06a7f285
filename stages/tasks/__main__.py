"""Run the tasks stage: `python -m stages.tasks --out PATH`."""

import sys

from stages.core.cli import stage_main
from stages.tasks.params import TasksParams
from stages.tasks.run import run

if __name__ == "__main__":
    sys.exit(stage_main("tasks", TasksParams, run))
