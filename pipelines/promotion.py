"""The registry's champions from the command line and the flow: gate, promote, rollback, history.

The registration stage decides and moves, in a child process that prints its outcome as JSON on its
last line; here it is put into words.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.environment import child_environment
from pipelines.processes import Children
from pipelines.repro import Outcome, StageError
from stages.core.artifacts import read_json

REPORTS = Path("reports")
RECORD_FILE = REPORTS / "promotion.json"
PAGE_FILE = REPORTS / "promotion.html"
_MODULE = "stages.registration"
_GATE = (sys.executable, "-m", _MODULE, "gate", "--out", str(REPORTS))
_NUMBER = 9
_RANGE = 26


def judge(root: Path) -> str:
    """Let the gate decide; returns the decision as text.

    Raises: StageError: it could not; the child has said why.
    """
    record = _outcome(root, _GATE)
    return "\n".join([*decision_lines(record), f"page: {root / PAGE_FILE}"]) + "\n"


def obstacle_to_judging(environment: Mapping[str, str], registration: Outcome | None) -> str:
    """Why a flow has nothing to judge; empty where it has."""
    if environment.get("CLOZE_TRACKING") == "off":
        return "tracking is off (CLOZE_TRACKING=off)"
    return "registration did not run" if registration is None else ""


def judge_here(
    *,
    workspace: Path,
    children: Children,
    environment: Mapping[str, str],
    on_line: Callable[[str], None],
    pass_fds: Sequence[int] = (),
) -> str:
    """Let the gate decide as a part of a flow; returns the decision in one line.

    Raises: StageError: it could not. StoppedError: the run was cancelled.
    """
    code = children.run(
        _GATE,
        cwd=workspace,
        environment=environment,
        on_line=lambda line: None if line.startswith("{") else on_line(line),
        pass_fds=pass_fds,
    )
    if code != 0:
        raise StageError(f"{workspace}: the promotion gate ended with exit code {code}", code)
    record = read_json(workspace / RECORD_FILE)
    for line in decision_lines(record):
        on_line(line)
    return f"{record['decision']}: {record['headline']}"


def promote(root: Path, version: str | None, reason: str) -> str:
    """Make the candidate, or a version of the encoder, the champion; returns what came of it."""
    command = [sys.executable, "-m", _MODULE, "promote", f"--reason={reason}"]
    command += [] if version is None else [f"--version={version}"]
    return _moved(_outcome(root, command))


def rollback(root: Path, reason: str) -> str:
    """Make the champions before the present ones champions again; returns what came of it."""
    command = [sys.executable, "-m", _MODULE, "rollback", f"--reason={reason}"]
    return _moved(_outcome(root, command))


def history(root: Path) -> str:
    """Every decision, oldest first, as a table."""
    entries = _outcome(root, [sys.executable, "-m", _MODULE, "history"])
    return "\n".join(history_lines(entries)) + "\n"


def _outcome(root: Path, command: Sequence[str]) -> Any:
    result = subprocess.run(
        command,
        cwd=root,
        env=child_environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise StageError("the champions stay as they are", result.returncode)
    return json.loads(result.stdout.splitlines()[-1])


def _moved(record: Mapping[str, Any]) -> str:
    models = ", ".join(f"{name} {version}" for name, version in record["champion"].items())
    return f"{record['decision']}: {record['headline']}\n  champion: {models}\n"


def decision_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """A gate's decision: one line, the reason, and a small table."""
    yield f"{record['decision']}: {record['headline']}"
    yield f"  {record['reason']}"
    if record["macro"]:
        names = [*record["tasks"], "macro"]
        width = max(len(name) for name in names)
        heads = f"{'candidate':>{_NUMBER}} {'champion':>{_NUMBER}}"
        yield f"  {'task':{width}} {heads} {'difference, 95 % interval':>{_RANGE}}  McNemar p"
        for name, entry in record["tasks"].items():
            yield f"  {name:{width}} {_numbers(entry)}{_remarks(entry)}".rstrip()
        yield f"  {'macro':{width}} {_numbers(record['macro'])}"
    for key, whose in (("only_candidate", "candidate"), ("only_champion", "champion")):
        if record[key]:
            yield f"  not compared, only the {whose} has it: {', '.join(record[key])}"


def _numbers(entry: Mapping[str, Any]) -> str:
    candidate, champion = (100 * entry[side]["score"] for side in ("candidate", "champion"))
    change = 100 * entry["difference"]["score"]
    low, high = (100 * end for end in entry["difference"]["interval"])
    moved = f"{change:+.2f} ({low:+.2f} to {high:+.2f})"
    return f"{candidate:{_NUMBER}.2f} {champion:{_NUMBER}.2f} {moved:>{_RANGE}}"


def _remarks(entry: Mapping[str, Any]) -> str:
    p_value = f"  {entry['mcnemar']['p_value']:9.3g}" if entry["mcnemar"] else " " * 11
    return p_value if entry["is_counted"] else f"{p_value}  left out of the mean"


def history_lines(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line a decision: when, by what, the encoder before and after, and why."""
    if not entries:
        yield "no champion has been decided on yet: python -m pipelines gate"
    for entry in entries:
        before, after = (_shown(entry, entry[key]) for key in ("before", "after"))
        moved = f"{before} -> {after}" if entry["is_move"] else f"{after} stays"
        measured = f"  macro {entry['macro_difference']}" if entry["macro_difference"] else ""
        yield f"{entry['time']}  {entry['kind']:8}  {entry['decision']:11}  {moved}{measured}"
        yield f"    {entry['reason']}"


def _shown(entry: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """A set of champions by its encoder."""
    encoder = versions.get(entry["encoder"])
    if encoder is None:
        return ", ".join(versions) or "none"
    tasks = len(versions) - 1
    return f"{entry['encoder']} {encoder} with {tasks} task model{'' if tasks == 1 else 's'}"
