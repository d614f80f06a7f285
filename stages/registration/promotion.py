"""The champions of a registry: judged by the gate, moved by hand, put back.

The encoder and its task models are one set of versions, and the champion aliases move together or
not at all. In: the versions behind the candidate's and the champion's alias, with the predictions
that they carry. Out: aliases, tags on the versions, an entry in the history, and a record to show.
"""

import fcntl
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stages.core.artifacts import write_json, writing
from stages.core.errors import ArtifactError
from stages.core.state import state_root
from stages.core.tracking.store import TrackingStore
from stages.registration.candidates import CONTENT_HASH
from stages.registration.evidence import TASK, Evidence, evidence_of_version
from stages.registration.gate import (
    PROMOTED,
    UNCHANGED,
    Decision,
    decide,
    described,
    first_champion,
    nothing_to_decide,
    rule_in_words,
)
from stages.registration.history import PREFIX, ROLLBACK, History, earlier_champions
from stages.registration.page import render
from stages.registration.params import CHAMPION, RegistrationParams
from stages.registration.record import make_record, version_tags
from stages.registration.registry import Registry, Versions

log = logging.getLogger(__name__)
REPORTS = ("promotion.json", "promotion.html")
ROLLED_BACK = "rolled back"
_ENDED = f"{PREFIX}.ended"


class Promotions:
    """One registry's champions. Hold `sole_mover` while it works."""

    def __init__(self, params: RegistrationParams, store: TrackingStore) -> None:
        self.params = params
        self.registry = Registry(store.client)
        self.history = History(store, params.encoder_name)

    def gate(self, leaves_out: Sequence[str], out: Path) -> dict[str, Any]:
        """Judge the candidate, act, and write promotion.json and promotion.html into `out`.

        Raises: ArtifactError: there is no candidate, or it cannot be compared with the champion.
        """
        self._undo_cut_off()
        candidate = self._candidate()
        champion = self._champion(candidate)
        decision = self._decide(candidate, champion, leaves_out)
        now = candidate if decision.is_promotion else champion
        facts = described(decision) | {
            "candidate": dict(candidate),
            "rule": self.params.promote_when.model_dump(),
            "rule_in_words": rule_in_words(self.params.promote_when, leaves_out),
        }
        record = make_record("gate", facts, self.params.encoder_name, champion, now)
        with self._written_down(record):
            _write_reports(record, out)
            if record["run_id"]:
                for name in REPORTS:
                    self.history.client.log_artifact(record["run_id"], str(out / name))
            self._tag(candidate, record)  # last: what fails before it puts the aliases back
        return record

    def describe_champion(self) -> dict[str, str]:
        """The champion's encoder and the hashes of its pre-training and its corpus.

        Raises: ArtifactError: there is no champion, or its version does not say.
        """
        name = self.params.encoder_name
        version = self.registry.behind(CHAMPION, [name]).get(name)
        if version is None:
            raise ArtifactError(
                f"registry: no version of {name} has the alias {CHAMPION!r}; train and promote one "
                "first (python -m pipelines train)"
            )
        tags = self.registry.tags_of(name, version)
        wanted = {key: f"artefact.artifacts/{key}" for key in ("pretraining", "corpus")}
        missing = [tag for tag in wanted.values() if tag not in tags]
        if missing:
            raise ArtifactError(
                f"registry: version {version} of {name} lacks the tags {missing}; register it "
                "again (dvc repro -f registration)"
            )
        hashes = {key: tags[tag] for key, tag in wanted.items()}
        return {"name": name, "version": version, **hashes}

    def promote(self, version: str | None, reason: str) -> dict[str, Any]:
        """Make the candidate, or a version of the encoder with its task models, the champion.

        Raises: ArtifactError: there is no such version.
        """
        self._undo_cut_off()
        name = self.params.encoder_name
        chosen = self._candidate() if version is None else self.registry.set_of(name, version)
        return self._move_by_hand("promote", PROMOTED, reason, chosen)

    def rollback(self, reason: str) -> dict[str, Any]:
        """Make the champions before the present ones champions again.

        Raises: ArtifactError: there were none, or their versions are gone.
        """
        self._undo_cut_off()
        earlier = earlier_champions(self.history.entries(), self._champion({}))
        if earlier is None:
            raise ArtifactError(
                f"registry: nothing to roll back to: the history of {self.params.encoder_name} "
                "knows no champion before this one; name one: python -m pipelines promote "
                "--version N --reason ..."
            )
        return self._move_by_hand(ROLLBACK, ROLLED_BACK, reason, earlier)

    def _move_by_hand(
        self, kind: str, decision: str, reason: str, chosen: Versions
    ) -> dict[str, Any]:
        for name, version in chosen.items():
            self.registry.tags_of(name, version)  # it is there
        champion = self._champion(chosen)
        word = UNCHANGED if champion == chosen else decision
        facts = {"decision": word, "reason": reason}
        record = make_record(kind, facts, self.params.encoder_name, champion, chosen)
        with self._written_down(record):
            self._tag(chosen, record)
        return record

    def _candidate(self) -> Versions:
        """The encoder behind the candidate's alias, and the task models registered with it."""
        name, alias = self.params.encoder_name, self.params.alias
        found = self.registry.behind(alias, [name])
        if not found:
            raise ArtifactError(
                f"registry: no version of {name} has the alias {alias!r}; register one first "
                "(dvc repro registration)"
            )
        return self.registry.set_of(name, found[name])

    def _champion(self, candidate: Versions) -> Versions:
        """What has the champion's alias, of the models at hand and of the last champions."""
        entries = self.history.entries()
        last = entries[-1].after if entries else {}
        return self.registry.behind(CHAMPION, (*candidate, *last))

    def _decide(
        self, candidate: Versions, champion: Versions, leaves_out: Sequence[str]
    ) -> Decision:
        if not champion:
            return first_champion()
        if candidate == champion or self._contents(candidate) == self._contents(champion):
            return nothing_to_decide()
        with TemporaryDirectory(prefix="cloze-gate-") as folder:
            mine, theirs = (self._evidence(side, Path(folder)) for side in (candidate, champion))
            return decide(mine, theirs, self.params.promote_when, leaves_out)

    def _contents(self, versions: Versions) -> dict[str, str | None]:
        return {
            name: self.registry.tags_of(name, version).get(CONTENT_HASH)
            for name, version in versions.items()
        }

    def _evidence(self, versions: Versions, folder: Path) -> dict[str, Evidence]:
        """Task -> what its version was judged by, of all but the encoder."""
        found = {}
        for name, version in versions.items():
            if name != self.params.encoder_name:
                tags = self.registry.tags_of(name, version)
                evidence = evidence_of_version(f"registry: version {version} of {name}", tags)
                file = self.registry.download_predictions(name, version, folder)
                found[evidence.task] = replace(evidence, predictions=file)
        return found

    @contextmanager
    def _written_down(self, record: dict[str, Any]) -> Iterator[None]:
        """Move the aliases below an entry of the history, which holds when the block has ended.

        Nothing is written down where nothing was decided.
        """
        if record["decision"] == UNCHANGED:
            yield
            return
        before, now = record["champion_before"], record["champion"]
        run_id = record["run_id"] = self.history.begin(record)
        try:
            self.registry.replace(CHAMPION, before, now)
            yield
        except BaseException:
            self.registry.replace(CHAMPION, now, before)
            self.history.discard(run_id)
            raise
        self.history.finish(run_id)

    def _undo_cut_off(self) -> None:
        """Put back what a killed process moved."""
        for entry in self.history.cut_off():
            log.warning("promotion %s was cut off: its aliases are put back", entry.run_id)
            self.registry.replace(CHAMPION, entry.after, entry.before)
            self.history.discard(entry.run_id)

    def _tag(self, judged: Versions, record: Mapping[str, Any]) -> None:
        """Write the decision onto every version that it concerns."""
        if record["decision"] == UNCHANGED:
            return
        for name, version in judged.items():
            task = self.registry.tags_of(name, version).get(TASK)
            tags = version_tags(record, name, task)
            self.registry.tag(name, version, {f"{PREFIX}.{key}": tags[key] for key in tags})
        for name, version in record["champion"].items():
            self.registry.untag(name, version, _ENDED)
        for name, version in record["champion_before"].items():
            if record["champion"].get(name) != version:
                self.registry.tag(name, version, {_ENDED: record["headline"]})


def _write_reports(record: Mapping[str, Any], out: Path) -> None:
    """Raises: StorageError: the disk is full, read-only or not permitted."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / REPORTS[0], record)
        (out / REPORTS[1]).write_text(render(record), encoding="utf-8")


@contextmanager
def sole_mover() -> Iterator[None]:
    """One process of this machine at a time; the others wait."""
    with (state_root() / "promotion.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
