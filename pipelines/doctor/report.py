"""`python -m pipelines doctor`: what could stop a run on this machine, and what to do about it.

In: the checkout, the environment, the state root, the servers. Out: one line a finding, and exit
code 3 where something will fail. Nothing is changed. Checks run side by side and wait for no server
longer than five seconds; torch is asked in a child process, and only where there is a GPU.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipelines.doctor import machine, services, state
from pipelines.doctor.finding import Check, Finding, Level, problem
from stages.core.errors import ClozeError
from stages.core.secrets import redacted

CHECKS: tuple[tuple[str, Check], ...] = (
    ("python", machine.python),
    ("packages", machine.packages),
    ("programs", machine.programs),
    ("gpus", machine.gpus),
    ("disk", machine.disk),
    ("settings", state.settings),
    ("state root", state.root_folder),
    ("dvc locks", state.dvc_locks),
    ("leases", state.leases),
    ("journal", state.journal),
    ("mlflow", services.mlflow),
    ("mlflow schema", services.mlflow_schema),
    ("prefect", services.prefect),
    ("servers", services.own_servers),
    ("launcher", services.launcher),
    ("secrets", services.secrets),
)
PROBLEM_EXIT_CODE = 3


def examine(root: Path, checks: Sequence[tuple[str, Check]] = CHECKS) -> tuple[str, int]:
    """Run the checks; returns the report and the exit code: 0, or 3 where something will fail."""
    with ThreadPoolExecutor(max_workers=len(checks)) as pool:
        results = pool.map(lambda check: _findings(check[1], root), checks)
        found = [(name, findings) for (name, _), findings in zip(checks, results, strict=True)]
    lines = [_line(name, finding) for name, findings in found for finding in findings]
    levels = Counter(finding.level for _, findings in found for finding in findings)
    lines.append(
        f"{len(checks)} checks: {levels[Level.PROBLEM]} problems, {levels[Level.WARNING]} warnings"
    )
    text = redacted("".join(f"{line}\n" for line in lines))
    return text, PROBLEM_EXIT_CODE if levels[Level.PROBLEM] else 0


def _findings(check: Check, root: Path) -> list[Finding]:
    """What a check yields; an error of it is a finding too, so that the others are still told."""
    findings: list[Finding] = []
    try:
        findings.extend(check(root))
    except ClozeError as error:
        findings.append(problem(str(error), ""))
    except Exception as error:  # noqa: BLE001  whatever it met: the report is of what is broken
        findings.append(problem(f"cannot be examined: {type(error).__name__}: {error}", ""))
    return findings


def _line(name: str, finding: Finding) -> str:
    found = finding.found.replace("\n", "; ")
    advice = f" -> {finding.advice}" if finding.advice else ""
    return f"{finding.level.value:8} {name:14} {found}{advice}"
