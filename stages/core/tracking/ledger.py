"""What of the journal has reached the store: one small file a run, replaced in one step.

The ledger is kept per store, so that a store that is used later gets the whole history. It may
lag behind the store by what a crash cut off, never run ahead of it: shipping an event twice must
change nothing (see `delivery.py`), and a lost ledger costs time, not truth.
"""

import hashlib
import json
import logging
import os
import socket
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from stages.core.artifacts import read_json, write_json
from stages.core.errors import ArtifactError
from stages.core.tracking.lineage import ProcessIdentity, is_alive

RUNNING = "RUNNING"
_SEVERITY = ("FINISHED", "KILLED", "FAILED")
_BLOCK_BYTES = 1 << 18  # some seconds of a store's time: what is sent again after a kill
_LOOK_AHEAD_BYTES = 4 << 20

log = logging.getLogger(__name__)


@dataclass
class Entry:
    """How far one journal was shipped, and the state of its run at that point."""

    key: str
    offset: int = 0
    run_id: str | None = None
    stage: str = ""
    parent: str | None = None
    status: str = ""
    is_watched: bool = False
    open: list[ProcessIdentity] = field(default_factory=list)  # began the run, did not end it
    last_time: int = 0
    worst: str = "FINISHED"  # of the runs below this one

    def follow(self, event: dict[str, Any]) -> None:
        """Keep track of who runs it; `status` changes when the last process has ended it."""
        self.last_time = max(self.last_time, int(event.get("time", 0)))
        if event["event"] == "start":
            self.stage, self.parent = event["stage"], event.get("parent")
            self.is_watched = event.get("is_watched", False)
            process = ProcessIdentity(event["host"], event["pid"], event.get("started", 0))
            others = [known for known in self.open if known != process and is_alive(known)]
            self.open = [*others, process]
            self.status = RUNNING
        elif event["event"] == "end":
            self.open = [known for known in self.open if known.pid != event.get("pid", known.pid)]
            if not any(is_alive(known) for known in self.open):
                self.open, self.status = [], event["status"]

    def blame(self, status: str, time: int) -> None:
        """Note how a run below this one ended."""
        self.worst = max(self.worst, status, key=_SEVERITY.index)
        self.last_time = max(self.last_time, time)

    @property
    def is_local(self) -> bool:
        """Whether all processes that have it open are of this machine, so can be watched."""
        return all(process.host == socket.gethostname() for process in self.open)

    @property
    def is_live(self) -> bool:
        """Whether a process of this machine still writes to the run."""
        return any(is_alive(process) for process in self.open)


def ledger_folder(journals: Path, uri: str) -> Path:
    """Where the ledger of a store is, and the lock of its shipper."""
    return journals / "shipped" / hashlib.sha256(uri.encode()).hexdigest()[:12]


class Ledger:
    """The entries of one store: on disk, and in memory once they were asked for."""

    def __init__(self, journals: Path, uri: str) -> None:
        self.journals = journals
        self.folder = ledger_folder(journals, uri)
        self.entries: dict[str, Entry] = {}

    def save(self, entry: Entry) -> None:
        """Remember an entry, on disk too."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.entries[entry.key] = entry
        write_json(self.folder / f"{entry.key}.json", asdict(entry))

    def reload(self, key: str) -> None:
        """Forget what memory holds of an entry."""
        self.entries.pop(key, None)

    def entry(self, key: str) -> Entry:
        """The entry of a journal, a new one where nothing was shipped."""
        if key not in self.entries:
            path = self.folder / f"{key}.json"
            self.entries[key] = _read_entry(path) if path.exists() else Entry(key)
        return self.entries[key]

    def journal(self, key: str) -> Path:
        """Where the journal of a run is."""
        return self.journals / f"{key}.jsonl"

    def unshipped(self) -> list[str]:
        """Keys of the journals that have grown; entries of all journals are in memory then."""
        grown = []
        with os.scandir(self.journals) as files:
            for file in files:
                key, suffix = os.path.splitext(file.name)
                if suffix == ".jsonl" and file.stat().st_size > self.entry(key).offset:
                    grown.append(key)
        return sorted(grown)

    def has_live_runs(self) -> bool:
        """Whether a process of this machine still writes, by what is shipped and what is not."""
        if any(self.foreseen(key).is_live for key in self.unshipped()):
            return True
        return any(entry.is_live for entry in self.entries.values())

    def foreseen(self, key: str) -> Entry:
        """A copy of an entry as the next megabytes of its journal will make it."""
        entry = Entry(**vars(self.entry(key)))
        for event in read_events(self.journal(key), entry.offset, _LOOK_AHEAD_BYTES)[0]:
            entry.follow(event)
        return entry


def read_events(
    path: Path, offset: int, size: int | None = None
) -> tuple[list[dict[str, Any]], int]:
    """The whole lines behind `offset`, about `size` bytes or one block, and where they end.

    A line that is no event (half of one, left by a killed process) is reported and passed over.
    """
    events, end = [], offset
    with path.open("rb") as stream:
        stream.seek(offset)
        while end - offset < (size or _BLOCK_BYTES):
            line = stream.readline()
            if not line.endswith(b"\n"):
                break
            end += len(line)
            event = _parse(line)
            if event is not None:
                events.append(event)
            else:
                log.warning("%s: the line that ends at byte %d is no event, passed over", path, end)
    return events, end


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event and "time" in event else None


def _read_entry(path: Path) -> Entry:
    """An entry from disk; a damaged one begins anew."""
    known = {spec.name for spec in fields(Entry)}
    try:
        values = {name: value for name, value in read_json(path).items() if name in known}
        values["open"] = [ProcessIdentity(**process) for process in values.get("open", [])]
        return Entry(**{**values, "key": path.stem})
    except (ArtifactError, TypeError, AttributeError) as error:
        log.warning("%s: %s; its journal is shipped again", path, error)
        return Entry(path.stem)
