"""Runs the measurements, prints the table, writes reports/benchmarks.json and, in full, the page.

Before anything is imported that allocates, the process starts itself again with glibc's allocator
tuned, which the baseline gains from as much as we do.
"""

import argparse
import json
import os
import platform
import signal
import sys
from pathlib import Path
from typing import Any

from benchmarks.tuning import TUNED, is_tuned

ROOT = Path(__file__).resolve().parents[1]
GROUPS = ("pretraining", "finetuning", "data", "memory", "pipeline")


def main() -> int:
    """Measure what is asked for; the full run writes docs/results/performance.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under five minutes")
    parser.add_argument("--only", choices=GROUPS, action="append", help="these groups alone")
    arguments = parser.parse_args()
    if not is_tuned():
        os.execve(sys.executable, [*sys.orig_argv], {**os.environ, **TUNED})  # noqa: S606
    signal.signal(signal.SIGTERM, _stop)
    from benchmarks import groups, report

    results, facts = [], dict[str, Any]()
    for name in arguments.only or GROUPS:
        results += report.shown(groups.GROUPS[name](arguments.quick, facts))
    sys.stdout.writelines(f"{name}: {value}\n" for name, value in facts.items())
    folder = ROOT / "reports"
    folder.mkdir(exist_ok=True)
    rows = [result.described() for result in results]
    (folder / "benchmarks.json").write_text(json.dumps(rows, indent=1) + "\n")
    if not arguments.quick and not arguments.only:
        page = report.page(results, {**_conditions(), **facts})
        (ROOT / "docs" / "results" / "performance.md").write_text(page)
    return 0


def _conditions() -> dict[str, Any]:
    """What the numbers were measured on."""
    import torch

    from benchmarks import texts
    from stages.core.execution import available_cores

    return {
        "text": texts.source(),
        "cores": available_cores(),
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "load average at the end": round(os.getloadavg()[0], 2),
    }


def _stop(signum: int, _frame: Any) -> None:
    """Turn a signal into an exit, so that servers are stopped and temporary folders removed."""
    sys.exit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
