"""The history of promotions: one MLflow run a decision, beside the registry that it concerns.

So it survives with the registry, is shared by all machines that use it, and can be looked at in
MLflow's pages. A run is begun before the first alias moves and finished behind the last: one that
was cut off says what must be put back.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from stages.core.tracking.lineage import ProcessIdentity, identify_process, is_alive
from stages.core.tracking.store import TrackingStore
from stages.registration.registry import Versions

STAGE = "promotion"
PREFIX = f"cloze.{STAGE}"
ROLLBACK = "rollback"
_LONGEST_TEXT = 5000  # characters of a run's tag


@dataclass(frozen=True)
class Entry:
    """One decision: by whom, what, why, and the champions before and after it."""

    run_id: str
    time: str
    kind: str  # gate, promote or rollback
    encoder: str  # registered name of the champions' encoder
    decision: str
    reason: str
    before: Versions
    after: Versions
    macro_difference: str  # in points, with its interval; empty where none was measured
    process: ProcessIdentity

    @property
    def is_move(self) -> bool:
        """Whether the champions changed."""
        return self.before != self.after

    def described(self) -> dict[str, Any]:
        """The entry as plain values."""
        values: dict[str, Any] = {
            name: value for name, value in asdict(self).items() if name != "process"
        }
        return {**values, "is_move": self.is_move}


class History:
    """The decisions on one encoder's champions."""

    def __init__(self, store: TrackingStore, encoder_name: str) -> None:
        self.store, self.client = store, store.client
        self.encoder_name = encoder_name

    def begin(self, record: Mapping[str, Any]) -> str:
        """Write down what is about to happen; returns the id of its run."""
        tags = {
            "kind": record["kind"],
            "decision": record["decision"],
            "reason": record["reason"][:_LONGEST_TEXT],
            "encoder": self.encoder_name,
            "before": json.dumps(record["champion_before"]),
            "after": json.dumps(record["champion"]),
            "process": json.dumps(asdict(identify_process(os.getpid()))),
            **_macro_tags(record.get("macro")),
        }
        named = {f"{PREFIX}.{name}": text for name, text in tags.items()}
        run = self.client.create_run(
            self.store.experiment_id,
            start_time=int(time.time() * 1000),
            tags={"cloze.stage": STAGE, **named, **self._parent()},
            run_name=STAGE,
        )
        return str(run.info.run_id)

    def _parent(self) -> dict[str, str]:
        """The pipeline's run, where this is part of one that has arrived in the store."""
        key = os.environ.get("CLOZE_PIPELINE_RUN")
        run = self.store.find_run(key) if key else None
        return {"mlflow.parentRunId": run.info.run_id} if run else {}

    def finish(self, run_id: str) -> None:
        """The decision holds."""
        self.client.set_terminated(run_id, "FINISHED")

    def discard(self, run_id: str) -> None:
        """The decision was not carried out."""
        self.client.set_terminated(run_id, "FAILED")

    def entries(self) -> list[Entry]:
        """The decisions that hold, oldest first."""
        return self._search("FINISHED")

    def cut_off(self) -> list[Entry]:
        """Decisions begun by a process of this machine that is gone, newest first."""
        here = identify_process(os.getpid()).host
        begun = [entry for entry in self._search("RUNNING") if entry.process.host == here]
        return [entry for entry in reversed(begun) if not is_alive(entry.process)]

    def _search(self, status: str) -> list[Entry]:
        condition = (
            f"tags.`cloze.stage` = '{STAGE}' AND tags.`{PREFIX}.encoder` = '{self.encoder_name}' "
            f"AND attributes.status = '{status}'"
        )
        found: list[Entry] = []
        token = None
        while True:
            page = self.client.search_runs(
                [self.store.experiment_id],
                condition,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            found += [_entry(run) for run in page]
            token = page.token
            if not token:
                return found


def _macro_tags(macro: Mapping[str, Any] | None) -> dict[str, str]:
    """The number that decided, for the table of the history."""
    if macro is None:
        return {}
    low, high = macro["difference"]["interval"]
    difference = (
        f"{100 * macro['difference']['score']:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
    )
    return {"macro_difference": difference, "probability": f"{macro['probability']:.6g}"}


def _entry(run: Any) -> Entry:
    tags = {
        name.removeprefix(f"{PREFIX}."): text
        for name, text in run.data.tags.items()
        if name.startswith(f"{PREFIX}.")
    }
    began = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    return Entry(
        run_id=str(run.info.run_id),
        time=began.isoformat(timespec="seconds"),
        kind=tags["kind"],
        encoder=tags["encoder"],
        decision=tags["decision"],
        reason=tags["reason"],
        before=json.loads(tags["before"]),
        after=json.loads(tags["after"]),
        macro_difference=tags.get("macro_difference", ""),
        process=ProcessIdentity(**json.loads(tags["process"])),
    )


def earlier_champions(entries: Sequence[Entry], current: Versions) -> Versions | None:
    """The champions before `current`; None where there were none.

    A rollback takes its step off the path, so that the next one goes further back. Aliases that
    were moved by other means are a step that the history does not know.
    """
    path: list[Versions] = []
    for entry in entries:
        if not entry.is_move:
            continue
        if entry.before and (not path or path[-1] != entry.before):
            path.append(entry.before)
        if entry.kind == ROLLBACK and entry.after in path:
            del path[len(path) - path[::-1].index(entry.after) :]
        else:
            path.append(entry.after)
    if path and path[-1] == current:
        path.pop()
    return path[-1] if path else None
