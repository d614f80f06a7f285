"""The pipeline run in the tracking journal: the parent of its stages' runs.

One Prefect flow run is one MLflow run, also when Prefect starts it again after a crash.
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from pipelines.processes import StoppedError
from pipelines.settings import Settings
from stages.core.state import journal_root
from stages.core.tracking import lineage
from stages.core.tracking.journal import RunJournal, ensure_shipper, flatten


@contextmanager
def pipeline_journal(settings: Settings, *, flow_run_id: str, workspace: Path) -> Iterator[str]:
    """Open the pipeline's run, give its key to hand to the stages, and close it with its status."""
    journal = RunJournal(f"flow-{flow_run_id}")
    sections = {f.name: getattr(settings, f.name).model_dump(mode="json") for f in fields(settings)}
    journal.append(
        "start",
        run=journal.key,
        stage="pipeline",
        item=None,
        parent=None,
        params=flatten(sections),
        tags={
            **lineage.git_facts(workspace),
            "prefect.flow_run_id": flow_run_id,
            "params.sha256": lineage.params_hash(sections),
            "cloze.workspace": str(workspace),
        },
        host=socket.gethostname(),
        pid=os.getpid(),
    )
    ensure_shipper()
    status = "KILLED"
    try:
        yield journal.key
        status = "FINISHED"
    except StoppedError:
        raise
    except Exception:
        status = "FAILED"
        raise
    finally:
        journal.append("end", status=status, tags={})


def metric_of_maker(stage: str, output_hash: str, metric: str) -> float | None:
    """The last value of a metric of the run that made an output; None where none is known.

    Lineage follows the content: a restored output leads to the run that once made it.
    """
    for path in sorted(journal_root().glob(f"{stage}-*.jsonl")):
        value, is_maker = None, False
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue  # a killed process left half a line
            if event["event"] == "metrics":
                value = event["values"].get(metric, value)
            elif event["event"] == "end":
                is_maker = is_maker or event["tags"].get("output.out") == output_hash
        if is_maker:
            return value
    return None
