"""The pipeline run in the tracking journal: the parent of its stages' runs.

One Prefect flow run is one MLflow run, also when Prefect starts it again after a crash.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from pipelines.processes import StoppedError
from pipelines.settings import Settings
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
            **lineage.git_facts(),
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
