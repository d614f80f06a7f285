"""Run the corpus stage: `python -m stages.corpus --tasks PATH --out PATH`."""

import sys

from stages.core.cli import stage_main
from stages.corpus.params import CorpusParams
from stages.corpus.run import run

if __name__ == "__main__":
    sys.exit(stage_main("corpus", CorpusParams, run, inputs=("tasks",)))
