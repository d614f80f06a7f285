"""DVC as the pipeline's engine: its graph, what changed, and one stage at a time.

In: a workspace with dvc.yaml. Out: an `Outcome` a stage, its lines handed on as they come. Only
dvc's command line is used (its Python API is not stable), always with `--wait-for-lock`: the
repository lock otherwise gives up after 3 s, and parallel stages fail after their work is done.
"""

import json
import re
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from graphlib import TopologicalSorter
from pathlib import Path

from pipelines.environment import child_environment
from pipelines.processes import Children
from stages.core.errors import ClozeError, SettingsError

DVC = ("dvc", "--wait-for-lock")
_KEPT_LINES = 12
_EDGE = re.compile(r'^"(?P<upstream>[^"]+)" -> "(?P<stage>[^"]+)";$')
_NODE = re.compile(r'^"(?P<stage>[^"]+)";$')
_EXITED = re.compile(r"failed to run: .*, exited with (?P<code>\d+)")


class StageError(ClozeError):
    """A stage failed; its exit code says of which kind."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Outcome(Enum):
    """What became of a stage."""

    RAN = "Completed"
    CACHED = "Cached"
    SKIPPED = "Skipped"


def read_graph(workspace: Path) -> dict[str, tuple[str, ...]]:
    """Stage -> the stages it reads from, in an order in which they can run.

    Raises: SettingsError: dvc cannot read dvc.yaml or params.yaml.
    """
    upstreams: dict[str, set[str]] = {}
    for line in _dvc_output(workspace, "dag", "--dot").splitlines():
        if node := _NODE.match(line):
            upstreams.setdefault(node["stage"], set())
        elif edge := _EDGE.match(line):
            upstreams.setdefault(edge["stage"], set()).add(edge["upstream"])
    order = TopologicalSorter(upstreams).static_order()
    return {stage: tuple(sorted(upstreams[stage])) for stage in order}


def read_changed(workspace: Path) -> frozenset[str]:
    """The stages whose dependencies, parameters, command or outs differ from dvc.lock."""
    return frozenset(json.loads(_dvc_output(workspace, "status", "--json") or "{}"))


def read_state(workspace: Path) -> tuple[frozenset[str], dict[str, tuple[str, ...]]]:
    """What changed and the graph, asked side by side: most of either is the start of DVC.

    Raises: SettingsError: dvc cannot read dvc.yaml or params.yaml.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        changed = pool.submit(read_changed, workspace)
        graph = read_graph(workspace)
        return changed.result(), graph


def reproduce_stage(
    stage: str,
    *,
    workspace: Path,
    children: Children,
    environment: Mapping[str, str],
    on_line: Callable[[str], None],
    pass_fds: Sequence[int] = (),
    timeout_seconds: float | None = None,
) -> Outcome:
    """Bring one stage up to date; its upstream must be.

    Raises: StageError: it failed. StoppedError: the run was cancelled.
        OverdueError: it ran for longer than `timeout_seconds`.
    """
    outcome = Outcome.RAN
    last: deque[str] = deque(maxlen=_KEPT_LINES)

    def read(line: str) -> None:
        nonlocal outcome
        outcome = _outcome_of(line, stage) or outcome
        last.append(line)
        on_line(line)

    command = [*DVC, "repro", "--single-item", stage]
    code = children.run(
        command,
        cwd=workspace,
        environment=environment,
        on_line=read,
        pass_fds=pass_fds,
        timeout_seconds=timeout_seconds,
    )
    if code != 0:
        raise _stage_error(stage, workspace, code, list(last))
    return outcome


def needed_stages(
    upstreams: Mapping[str, tuple[str, ...]], targets: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The part of the graph that leads to the targets; `finetuning` names all its items.

    Raises: SettingsError: the graph has no stage of a target.
    """
    wanted: set[str] = set()
    for target in targets:
        found = [stage for stage in upstreams if target in (stage, stage.partition("@")[0])]
        if not found:
            raise SettingsError(f"dvc.yaml: no stage {target!r}; there are {list(upstreams)}")
        while found:
            stage = found.pop()
            if stage not in wanted:
                wanted.add(stage)
                found.extend(upstreams[stage])
    return {stage: before for stage, before in upstreams.items() if stage in wanted}


def _outcome_of(line: str, stage: str) -> Outcome | None:
    """Read dvc's own verdict off a line."""
    if line.startswith(f"Stage '{stage}' didn't change"):
        return Outcome.SKIPPED
    if line.startswith(f"Stage '{stage}' is cached"):
        return Outcome.CACHED
    return None


def _stage_error(stage: str, workspace: Path, code: int, last: list[str]) -> StageError:
    exited = [found for line in last if (found := _EXITED.search(line))]
    code = int(exited[-1]["code"]) if exited else code
    said = "\n".join(f"  {line}" for line in last if line)
    return StageError(
        f"{workspace}: stage {stage!r} failed with exit code {code}; it said last:\n{said}", code
    )


def _dvc_output(workspace: Path, *arguments: str) -> str:
    result = subprocess.run(
        [*DVC, *arguments],
        cwd=workspace,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        said = result.stderr.strip() or result.stdout.strip()
        raise SettingsError(f"{workspace}: dvc {' '.join(arguments)} failed: {said}")
    return result.stdout
