"""What the soak runs found: kept in reports/soak.json, and written up as a page on request.

python -m tests.soak.facts    docs/results/durability.md from reports/soak.json
"""

import json
import os
import platform
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
FACTS = ROOT / "reports" / "soak.json"
PAGE = ROOT / "docs" / "results" / "durability.md"


def number(name: str, full: int) -> int:
    """How often or how long: CLOZE_SOAK_<NAME>, the full figure without it."""
    return int(os.environ.get(f"CLOZE_SOAK_{name}", full))


def record(kind: str, name: str, facts: dict[str, object]) -> None:
    """Keep what was found, instead of what an earlier run found."""
    kept = json.loads(FACTS.read_text()) if FACTS.is_file() else {}
    conditions = {"date": time.strftime("%Y-%m-%d"), "load": round(os.getloadavg()[0], 1)}
    kept.setdefault(kind, {})[name] = facts | conditions
    FACTS.parent.mkdir(exist_ok=True)
    FACTS.write_text(json.dumps(kept, indent=2) + "\n")


def page(kept: dict[str, dict[str, dict[str, object]]]) -> str:
    """The page's text."""
    kills, restarts, outage = kept["kills"], kept["restarts"]["two ranks"], kept["outage"]["server"]
    total = {k: sum(int(f[k]) for f in kills.values()) for k in ("training", "writing", "starting")}
    starts = sum(int(f["starts"]) for f in kills.values())
    minutes = sum(float(f["minutes"]) for group in kept.values() for f in group.values())
    rows = "\n".join(
        f"| {name} | {f['training']} | {f['writing']} | {f['starting']} | {f['starts']} | "
        f"{'the same' if f['is_identical'] else 'DIFFERENT'} | {f['minutes']} |"
        for name, f in kills.items()
    )
    loads = sorted({float(f["load"]) for group in kept.values() for f in group.values()})
    return f"""# Durability

Measured by `make soak`, in {minutes:.0f} minutes; `make test` holds a short version of each.

## SIGKILL

{sum(total.values())} kills in {starts} starts of trainings on one CPU process. At the end the
exported folder (weights, curve, manifest) is compared with the uninterrupted training's by its
hash. A kill counts where it hit what it was meant to: {total["training"]} between two updates or
in one, {total["writing"]} with a half-written checkpoint left behind, {total["starting"]} before
the first update after a start.

| objective | training | writing a checkpoint | starting | starts | final bytes | minutes |
|---|---|---|---|---|---|---|
{rows}

## Elastic restart

In one training on two ranks, {restarts["restarted"]} of {restarts["killed"]} SIGKILLs of a rank
(either one, by turns) were followed by a restart of both and by a newer checkpoint, the slowest
{restarts["slowest_seconds"]} s after the kill, imports included. At the end no weight differs from
the undisturbed training's by more than {restarts["largest_difference"]:.1e}.
{restarts["minutes"]} minutes.

## Tracking outage

The MLflow server was away for {outage["outage_seconds"]} s, and the training was killed and resumed
meanwhile. Afterwards `python -m pipelines replay` brought everything: {outage["runs"]} run,
{outage["steps"]} logged steps, each once ({outage["doubled"]} doubled), although
{outage["steps_trained_again"]} of them were trained twice; these are named in the run's tag
`cloze.superseded_steps`. {outage["minutes"]} minutes.

## Conditions

{os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__}, load average {loads[0]} to
{loads[-1]}.
"""


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(FACTS.read_text())))
    sys.exit()
