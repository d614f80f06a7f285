"""What the pipeline itself costs: an unchanged `dvc repro`, an unchanged flow, and all around work.

*Around* is the share of the wall time of one `dvc repro` from empty that is not a stage's own work.
A stage's own work is the time between the `start` and the `end` of its run in the journal: its
run(), and the hashes of its outputs. The imports of the stages and all of DVC lie outside. Imports
inside run() are taken off the own work and count as around too: the training process that
pre-training starts, the model classes that fine-tuning asks for, and what registration loads of
MLflow and transformers. They are measured beside it, each in a fresh process. Left in the own work:
the start of the data stages' worker pools, and what MLflow does in registration.
"""

import json
import re
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.paired import Result, limit
from benchmarks.projects import UserProject, default_project, micro_project
from pipelines.servers import free_port

_TRAIN = ("python", "-m", "pipelines", "train")


@dataclass(frozen=True)
class _Imports:
    """What a stage's run() imports that its command has not imported before."""

    before: str
    inside: str

    def seconds(self, project: UserProject, rounds: int) -> float:
        """The median time of it, each in a fresh process."""
        code = (
            f"import time\n{self.before}\nstarted = time.perf_counter()\n{self.inside}\n"
            "print('seconds', time.perf_counter() - started)"
        )
        said = [project.require("python", "-c", code) for _ in range(rounds)]
        return statistics.median(float(text.rpartition("seconds")[2]) for text in said)


_IMPORTS = {
    "pretraining": _Imports(
        "",
        "import stages.pretraining.worker\n"
        "from stages.pretraining.objective import load_objective\n"
        "load_objective('bert')",
    ),
    "finetuning": _Imports(
        "import stages.finetuning.run",
        "import stages.finetuning.worker\nimport transformers.models.bert.modeling_bert",
    ),
    "registration": _Imports(
        "import stages.registration.run",
        "import mlflow.transformers\nimport transformers.models.bert.modeling_bert",
    ),
}


def measure_pipeline(*, is_quick: bool, facts: dict[str, Any]) -> Iterator[Result]:
    """All rows; the quick form takes the micro project for what is around the stages' work."""
    rounds = 1 if is_quick else 7
    with micro_project() as project:
        if is_quick:
            yield _around(project, "one dvc repro of the micro project", 1, facts)
        else:
            project.repro()
        yield _unchanged_repro(project, rounds)
        yield _unchanged_flow(project, rounds)
    if not is_quick:
        with default_project() as project:
            yield _around(project, "make run", 3, facts)


def _unchanged_repro(project: UserProject, rounds: int) -> Result:
    return limit(
        "dvc repro with nothing changed",
        [_seconds_of_nothing(project) for _ in range(rounds)],
        unit="s",
        target=2,
        note="most of it is the start of Python and the import of DVC",
    )


def _seconds_of_nothing(project: UserProject) -> float:
    started = time.perf_counter()
    ran = project.repro()
    seconds = time.perf_counter() - started
    if ran:
        raise RuntimeError(f"dvc repro ran {ran}, expected that nothing had changed")
    return seconds


def _unchanged_flow(project: UserProject, rounds: int) -> Result:
    """Prefect's flow against the servers of `pipelines up`; its first run is not measured."""
    ports = {f"CLOZE_{name}_PORT": str(free_port()) for name in ("MLFLOW", "PREFECT")}
    try:
        project.require("python", "-m", "pipelines", "up", **ports)
        seconds = [_seconds_of_a_flow(project) for _ in range(rounds + 1)][1:]
    finally:
        project.require("python", "-m", "pipelines", "down")
    return limit(
        "flow with nothing changed, on a running server",
        seconds,
        unit="s",
        target=10,
        note="most of it is the import of Prefect, `dvc dag` and `dvc status`, and a task a stage",
    )


def _seconds_of_a_flow(project: UserProject) -> float:
    started = time.perf_counter()
    said = project.require(*_TRAIN)
    seconds = time.perf_counter() - started
    if not re.search(r"\b0 of \d+ stages ran", said):
        raise RuntimeError(f"the flow ran stages, expected that nothing had changed:\n{said}")
    return seconds


def _around(project: UserProject, name: str, rounds: int, facts: dict[str, Any]) -> Result:
    """Run everything once from empty, then find out what was work."""
    started = time.perf_counter()
    ran = project.repro()
    wall = time.perf_counter() - started
    work = _work_seconds(project.root / ".cloze" / "journal")
    counts = {stage: sum(one.partition("@")[0] == stage for one in ran) for stage in _IMPORTS}
    imports = sum(
        count * _IMPORTS[stage].seconds(project, rounds) for stage, count in counts.items()
    )
    own = sum(work.values()) - imports
    by_stage = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in work.items())
    facts[name] = (
        f"{wall:.0f} s, of it the stages' own work {own:.0f} s; imports inside it, not counted, "
        f"{imports:.0f} s; with them {by_stage}"
    )
    return limit(
        f"around the stages' own work in {name}",
        [1 - own / wall],
        unit="of the wall time",
        target=0.25,
        stretch=0.15,
        note="each process that trains imports torch and transformers by itself, one for "
        "pre-training and one a task",
    )


def _work_seconds(journals: Path) -> dict[str, float]:
    """Seconds from start to end of each stage's runs, imports inside them included."""
    seconds: dict[str, float] = {}
    for path in sorted(journals.glob("*.jsonl")):
        stage, begun = "", 0
        for line in path.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            if event["event"] == "start":
                stage, begun = event["stage"], event["time"]
            elif event["event"] == "end" and stage != "pipeline":
                seconds[stage] = seconds.get(stage, 0.0) + (event["time"] - begun) / 1000
    return seconds
