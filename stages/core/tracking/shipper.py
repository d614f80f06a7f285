"""The shipper: one background process that brings the journal into MLflow.

In: `<state>/journal/*.jsonl`; out: runs of the experiment `cloze`, and the ledger of what arrived.
Every stage starts one; a lock lets one live, so that one import of mlflow (2 s) serves a whole
pipeline. It ends when nothing new came for ten seconds and no journalled process of this machine
is left. A server that is down costs waiting, never an event: the rest stays for the next shipper.

    python -m stages.core.tracking.shipper            what stages start
    python -m stages.core.tracking.shipper --flush    ships all that is there; 0 when all arrived
"""

import argparse
import fcntl
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.core.errors import ClozeError, TrackingError
from stages.core.logs import fields, set_up_logging
from stages.core.state import journal_root
from stages.core.tracking.ledger import RUNNING, Entry, Ledger, ledger_folder, read_events
from stages.core.tracking.store import connect, shown_uri, tracking_errors, tracking_uri

PASS_SECONDS = 1.0
IDLE_SECONDS = 10.0  # without news and without live runs, before the process ends
OUTAGE_SECONDS = 120.0  # tried on, behind the last live run, while the server does not answer
FLUSH_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 10.0

log = logging.getLogger(__name__)


class Shipper:
    """Ships what the journal holds beyond the ledger. Hold the lock while it works."""

    def __init__(self, journals: Path) -> None:
        self.ledger = Ledger(journals, tracking_uri())
        self._store: Any = None
        self._deliveries: dict[str, Any] = {}
        self._failed: dict[str, float] = {}  # journals not taken, and when they were last tried
        self._fault: TrackingError | None = None  # of this pass

    def ship(self) -> bool:
        """One pass over all journals; says whether anything was new.

        A journal that the store does not take holds up no other: it comes last, and waits some
        seconds before the next try while others bring news.
        Raises: TrackingError: the store did not answer, or something was not taken and nothing else
            was new; what had arrived is in the ledger.
        """
        self._fault, has_news = None, False
        for key in sorted(self.ledger.unshipped(), key=lambda key: (self._last_fault(key), key)):
            is_due = time.monotonic() - self._last_fault(key) >= _LONGEST_PAUSE_SECONDS
            if is_due or not has_news:
                has_news |= self._attempt(self._ship_block, key)
        has_news |= self._close_abandoned()
        if self._fault and not has_news:
            raise self._fault
        if self._fault:
            log.warning("%s", self._fault)
        return has_news

    def _last_fault(self, key: str) -> float:
        return self._failed.get(key, -math.inf)

    def _attempt(self, step: Callable[[str], bool], key: str) -> bool:
        """Take a step with one journal; after a fault the others go on, if the store answers.

        Raises: TrackingError: it cannot be opened.
        """
        if self._store is None:
            self._store = connect()
        try:
            return step(key)
        except TrackingError as error:
            self._fault, self._store = error, None  # opened anew: it may be down altogether
            return False

    def _ship_block(self, key: str) -> bool:
        with self._all_or_nothing(key):
            entry = self.ledger.entry(key)
            events, end = read_events(self.ledger.journal(key), entry.offset)
            if end == entry.offset:
                return False
            self._delivery(entry).deliver(events)
            entry.offset = end
            self._settle(entry)
        return True

    @contextmanager
    def _all_or_nothing(self, key: str) -> Iterator[None]:
        """After an error forget what memory holds of a run; the store is asked anew."""
        try:
            with tracking_errors(f"does not take the journal {key}", are_bugs_too=True):
                yield
            self._failed.pop(key, None)
        except TrackingError:
            self._failed[key] = time.monotonic()
            self._deliveries.pop(key, None)
            self.ledger.reload(key)
            raise

    def _delivery(self, entry: Entry) -> Any:
        from stages.core.tracking.delivery import RunDelivery

        if entry.key not in self._deliveries:
            self._deliveries[entry.key] = RunDelivery(self._store, entry, self._run_id_of)
        return self._deliveries[entry.key]

    def _run_id_of(self, key: str) -> str | None:
        """MLflow's id of a parent, which is shipped first where that has not happened."""
        entry = self.ledger.entry(key)
        if entry.run_id is None and self.ledger.journal(key).is_file():
            self._ship_block(key)
        return self.ledger.entry(key).run_id

    def _settle(self, entry: Entry) -> None:
        """Write the ledger; a run that ended is told to its parent first."""
        if entry.status != RUNNING:
            self._deliveries.pop(entry.key, None)
            if entry.parent and entry.status:
                parent = self.ledger.entry(entry.parent)
                parent.blame(entry.status, entry.last_time)
                self.ledger.save(parent)
        self.ledger.save(entry)

    def _close_abandoned(self) -> bool:
        """Close runs whose processes are gone: killed ones, and watched ones when all is over."""
        has_closed = False
        running = [entry for entry in self.ledger.entries.values() if self._is_abandoned(entry)]
        for entry in sorted(running, key=lambda entry: entry.is_watched):
            if not (entry.is_watched and self._has_open_child(entry.key)):
                has_closed |= self._attempt(self._close, entry.key)
        return has_closed

    def _close(self, key: str) -> bool:
        with self._all_or_nothing(key):
            entry = self.ledger.entry(key)
            self._delivery(entry).close(entry.worst if entry.is_watched else "KILLED")
            self._settle(entry)
        log.info("%s", fields("closed", run=key, status=entry.status))
        return True

    def _is_abandoned(self, entry: Entry) -> bool:
        """Whether all its processes were of this machine, are gone, and left nothing unread."""
        if entry.status != RUNNING or not entry.open or not entry.run_id:
            return False
        if entry.is_live or not entry.is_local:
            return False
        journal = self.ledger.journal(entry.key)
        return not journal.is_file() or read_events(journal, entry.offset)[1] == entry.offset

    def _has_open_child(self, key: str) -> bool:
        """Whether a run below this one goes on, or has not arrived to its end."""
        if any(e.parent == key and e.status == RUNNING for e in self.ledger.entries.values()):
            return True
        failed = (name for name in self._failed if self.ledger.journal(name).is_file())
        return any(self.ledger.foreseen(name).parent == key for name in failed)


def ship_in_background(journals: Path) -> None:
    """Ship until all is over; return at once where another shipper does it.

    A stage may begin while this one lets go of the lock: its own shipper found the lock taken and
    ended, so this one looks once more.
    """
    while True:
        with _lock(journals) as is_ours:
            if not is_ours:
                return
            _ship_until_idle(Shipper(journals))
        if not _has_news(journals):
            return


def _ship_until_idle(shipper: Shipper) -> None:
    last_news = time.monotonic()
    pause = PASS_SECONDS
    while shipper.ledger.journals.is_dir():
        patience = IDLE_SECONDS if pause == PASS_SECONDS else OUTAGE_SECONDS
        try:
            if shipper.ship():
                last_news = time.monotonic()
            pause = PASS_SECONDS
        except TrackingError as error:
            log.warning("%s", error)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        if shipper.ledger.has_live_runs():
            last_news = time.monotonic()
        elif time.monotonic() - last_news > patience:
            return
        time.sleep(pause)


def flush(patience_seconds: float = FLUSH_SECONDS) -> None:
    """Ship all that the journal holds now, or wait until another shipper has.

    Raises: TrackingError: nothing more arrived for `patience_seconds`; nothing is lost.
    """
    journals = journal_root()
    missing = {path.stem: path.stat().st_size for path in journals.glob("*.jsonl")}
    deadline, left = time.monotonic() + patience_seconds, 0
    fault = TrackingError(f"MLflow ({shown_uri()}): another shipper has not brought all of it yet")
    while missing := _missing(ledger := Ledger(journals, tracking_uri()), missing):
        behind = sum(size - ledger.entry(key).offset for key, size in missing.items())
        if behind != left:
            deadline, left = time.monotonic() + patience_seconds, behind
        elif time.monotonic() > deadline:
            raise TrackingError(f"{len(missing)} journals wait in {journals}: {fault}")
        try:
            with _lock(journals) as is_ours:
                if is_ours:
                    shipper = Shipper(journals)
                    while shipper.ship():
                        pass
        except TrackingError as error:
            fault = error
        time.sleep(0.2)


def _missing(ledger: Ledger, wanted: dict[str, int]) -> dict[str, int]:
    """Those journals of which whole lines below the wanted size have not arrived."""
    behind = {key: size for key, size in wanted.items() if ledger.entry(key).offset < size}
    return {
        key: size
        for key, size in behind.items()
        if read_events(ledger.journal(key), ledger.entry(key).offset)[1] > ledger.entry(key).offset
    }


def _has_news(journals: Path) -> bool:
    """Whether a live process has written something that has not arrived."""
    ledger = Ledger(journals, tracking_uri())
    return bool(ledger.unshipped()) and ledger.has_live_runs()


@contextmanager
def _lock(journals: Path) -> Iterator[bool]:
    """Hold the shippers' lock of this store; False where another process has it."""
    folder = ledger_folder(journals, tracking_uri())
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def main() -> int:
    """Command line of the shipper: 0 when all arrived, 4 when the store could not be used."""
    parser = argparse.ArgumentParser(prog="python -m stages.core.tracking.shipper")
    parser.add_argument("--flush", action="store_true", help="ship what is there, then end")
    arguments = parser.parse_args()
    set_up_logging("tracking")
    try:
        if arguments.flush:
            flush()
        else:
            os.nice(10)
            ship_in_background(journal_root())
    except ClozeError as error:
        log.error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
