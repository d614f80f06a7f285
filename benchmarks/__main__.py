"""Runs the measurements, prints the table, writes reports/benchmarks.json and, in full, the page.

Before anything is imported that allocates, the process starts itself again with glibc's allocator
tuned, which the baseline gains from as much as we do.
"""

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from stages.pretraining.launch import ALLOCATOR

ROOT = Path(__file__).resolve().parents[1]
_TUNED = {
    **ALLOCATOR,
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}
GROUPS = ("pretraining", "data")


def main() -> int:
    """Measure what is asked for; the full run writes docs/results/performance.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under five minutes")
    parser.add_argument("--only", choices=GROUPS, action="append", help="these groups alone")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in _TUNED.items()):
        os.execve(sys.executable, [*sys.orig_argv], {**os.environ, **_TUNED})  # noqa: S606
    import torch

    from benchmarks import data, pretraining, report, texts
    from stages.core.execution import available_cores

    torch.set_num_threads(available_cores())
    rounds = 6 if arguments.quick else 16
    results, groups = [], arguments.only or GROUPS
    checks = {}
    if "pretraining" in groups:
        checks["largest relative gap of loss and gradients to transformers"] = (
            pretraining.largest_loss_difference(8000)
        )
        for kind in ("blocks", "lines"):
            for vocab_size in (8000, 30522):
                results += report.shown(pretraining.measure(kind, vocab_size, rounds))
    if "data" in groups:
        torch.set_num_threads(1)
        megabytes = 4 if arguments.quick else 40
        results += report.shown([data.measure_encoding(megabytes, 2 if arguments.quick else 3)])
        results += report.shown(data.measure_masks(2 if arguments.quick else 5))
    conditions = {
        "text": texts.source(),
        "cores": available_cores(),
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "load average at the end": round(os.getloadavg()[0], 2),
        **checks,
    }
    folder = ROOT / "reports"
    folder.mkdir(exist_ok=True)
    rows = [result.described() for result in results]
    (folder / "benchmarks.json").write_text(json.dumps(rows, indent=1) + "\n")
    if not arguments.quick and not arguments.only:
        page = report.page(results, conditions)
        (ROOT / "docs" / "results" / "performance.md").write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
