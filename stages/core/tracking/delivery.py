"""Applying the events of one run to MLflow, so that applying one twice changes nothing.

A crash can come between MLflow's write and the ledger's. So runs are found by their key,
checkpoints by step and hash, artefacts and tags overwrite, and a metric is sent once per
(run, metric, step): what MLflow already holds is asked when a run is taken up again, and the first
value of a step wins. MLflow itself drops a point with the same step, time and value.
"""

import getpass
import logging
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import create_external_model
from mlflow.entities import LoggedModelOutput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from stages.core.tracking.ledger import RUNNING, Entry
from stages.core.tracking.store import OUTPUTS_TAG, TrackingStore, is_permanent

BATCH_METRICS = 1000  # the most that one log_batch call may carry
_BATCH_ENTRIES = 100  # the same for params and tags
_LONGEST_VALUE = 5000
_UNFIT_CHARACTER = re.compile(r"[^\w\-. :/]")

SUPERSEDED_TAG = "cloze.superseded_steps"

log = logging.getLogger(__name__)


class RunDelivery:
    """One run on its way into MLflow; throw it away after an error and begin from the ledger."""

    def __init__(
        self, store: TrackingStore, entry: Entry, run_id_of: Callable[[str], str | None]
    ) -> None:
        self.store = store
        self.client = store.client
        self.entry = entry
        self.run_id_of = run_id_of
        self.pending: list[Metric] = []

    def deliver(self, events: list[dict[str, Any]]) -> None:
        """Apply events in order; one that MLflow refuses for good is reported and dropped.

        Raises: MlflowException: the store did not answer; nothing of `events` may be counted.
        """
        for event in events:
            if self.entry.run_id is None and event["event"] != "start":
                log.warning("run %s: %s before its start, dropped", self.entry.key, event["event"])
                continue
            try:
                if event["event"] != "metrics":
                    self._send_metrics()
                getattr(self, f"_on_{event['event']}", self._on_unknown)(event)
            except MlflowException as error:
                self._drop_or_raise(event["event"], error)
        try:
            self._send_metrics()
        except MlflowException as error:
            self._drop_or_raise("metrics", error)

    def _drop_or_raise(self, what: str, error: MlflowException) -> None:
        if not is_permanent(error):
            raise error
        self.pending.clear()
        log.warning("run %s: MLflow refuses an event (%s): %s", self.entry.key, what, error)

    @cached_property
    def points(self) -> dict[tuple[str, int], tuple[int, float]]:
        """(metric, step) -> (time, value) of what the store holds of the run."""
        held: dict[tuple[str, int], tuple[int, float]] = {}
        for name in self.client.get_run(self.entry.run_id).data.metrics:
            for point in self.client.get_metric_history(self.entry.run_id, name):
                held.setdefault((name, point.step), (point.timestamp, point.value))
        return held

    @cached_property
    def checkpoints(self) -> dict[tuple[str, str], Any]:
        """(step, content hash) -> LoggedModel of the run's checkpoints."""
        found, token = [], None
        while True:
            page = self.client.search_logged_models(
                [self.store.experiment_id],
                filter_string=f"source_run_id = '{self.entry.run_id}'",
                page_token=token,
            )
            found += page
            token = page.token
            if not token:
                break
        return {
            (model.tags.get("cloze.step", ""), model.tags.get("cloze.content_hash", "")): model
            for model in found
        }

    def _on_start(self, event: dict[str, Any]) -> None:
        """Create the run or take it up again; a changed parameter is noted, never refused."""
        entry, params, tags = self.entry, event["params"], _start_tags(event)
        tags["cloze.run_key"] = entry.key
        parent = self.run_id_of(event["parent"]) if event.get("parent") else None
        if parent:
            tags["mlflow.parentRunId"] = parent
        run = self._known_run()
        if run is None:
            entry.run_id = self._create(event)
            self.points, self.checkpoints = {}, {}
        else:
            entry.run_id = run.info.run_id
            held = {name: run.data.params.get(_name(name)) for name in params}
            changed = [name for name in params if held[name] not in (None, _fit(params[name]))]
            if changed:
                tags["cloze.changed_params"] = ", ".join(f"{n}={params[n]}" for n in changed)
            params = {name: params[name] for name in params if held[name] is None}
            if run.info.status != RUNNING:
                self.client.update_run(entry.run_id, status=RUNNING)
        self._set(params=params, tags=tags)
        entry.follow(event)

    def _known_run(self) -> Any | None:
        if self.entry.run_id:
            return self.client.get_run(self.entry.run_id)
        return self.store.find_run(self.entry.key)

    def _create(self, event: dict[str, Any]) -> str:
        name = f"{event['stage']}@{event['item']}" if event["item"] else event["stage"]
        tags = {"cloze.run_key": self.entry.key, "mlflow.user": _user()}
        run = self.client.create_run(
            self.store.experiment_id, start_time=event["time"], tags=tags, run_name=name
        )
        return str(run.info.run_id)

    def _set(
        self, *, params: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None
    ) -> None:
        """Write params and tags, as many at a time as MLflow takes."""
        entries: list[tuple[str, Any]] = [
            ("params", Param(_name(name), _fit(value))) for name, value in (params or {}).items()
        ]
        entries += [("tags", RunTag(_name(name), _fit(v))) for name, v in (tags or {}).items()]
        for first in range(0, len(entries), _BATCH_ENTRIES):
            batch: dict[str, list[Any]] = {"params": [], "tags": []}
            for kind, value in entries[first : first + _BATCH_ENTRIES]:
                batch[kind].append(value)
            self.client.log_batch(self.entry.run_id, **batch)

    def _on_metrics(self, event: dict[str, Any]) -> None:
        for name, value in event["values"].items():
            point, held = (_name(name), event["step"]), (event["time"], float(value))
            if self.points.setdefault(point, held) is held:
                self.pending.append(Metric(point[0], held[1], held[0], point[1]))
            if len(self.pending) == BATCH_METRICS:
                self._send_metrics()

    def _send_metrics(self) -> None:
        if self.pending:
            self.client.log_batch(self.entry.run_id, metrics=self.pending)
            self.pending = []

    def _on_tags(self, event: dict[str, Any]) -> None:
        self._set(tags=event["values"])

    def _on_artifact(self, event: dict[str, Any]) -> None:
        try:
            Path(event["path"]).open("rb").close()
        except OSError as error:
            log.warning("run %s: %s, not attached", self.entry.key, error)
        else:
            self.client.log_artifact(self.entry.run_id, event["path"])

    def _on_checkpoint(self, event: dict[str, Any]) -> None:
        """Register a step checkpoint as a LoggedModel whose files stay where they are."""
        identity = (str(event["step"]), event["content_hash"])
        model = self.checkpoints.get(identity)
        if model is not None and str(model.status) != "READY":  # cut off while it was created
            self.client.delete_logged_model(model.model_id)
            model = None
        tags = {"cloze.path": event["path"], "cloze.pruned": "false"}
        if model is None:
            tags |= {"cloze.step": identity[0], "cloze.content_hash": identity[1]}
            model = create_external_model(
                name=f"{self.entry.stage}-step-{event['step']}",
                source_run_id=self.entry.run_id,
                experiment_id=self.store.experiment_id,
                tags={**tags, "cloze.run_key": self.entry.key},
                model_type="checkpoint",
            )
            model.tags.update(tags)
            self.checkpoints[identity] = model
        else:
            self.client.set_logged_model_tags(model.model_id, tags)
        self._link(model, event)

    def _link(self, model: Any, event: dict[str, Any]) -> None:
        """Make the checkpoint an output of the run and give it its metrics.

        A metric of a model is also one of its run: with the time and value of the run's own point
        MLflow sees that it has it.
        """
        outputs = self.client.get_run(self.entry.run_id).outputs
        held = {output.model_id for output in outputs.model_outputs} if outputs else set()
        if model.model_id not in held:
            output = LoggedModelOutput(model.model_id, step=event["step"])
            self.client.log_outputs(self.entry.run_id, [output])
        metrics = []
        for name, value in event["metrics"].items():
            own = (event["time"], float(value))
            time, value_held = self.points.setdefault((_name(name), event["step"]), own)
            point = Metric(_name(name), value_held, time, event["step"], model_id=model.model_id)
            metrics.append(point)
        if metrics:
            self.client.log_batch(self.entry.run_id, metrics=metrics)

    def _on_pruned(self, event: dict[str, Any]) -> None:
        for model in self.checkpoints.values():
            if model.tags.get("cloze.path") == event["path"]:
                self.client.set_logged_model_tags(model.model_id, {"cloze.pruned": "true"})

    def _on_superseded(self, event: dict[str, Any]) -> None:
        """Name the steps that were trained again; their points stay the first attempt's."""
        known = self.client.get_run(self.entry.run_id).data.tags.get(SUPERSEDED_TAG, "")
        steps = dict.fromkeys([*known.split(", "), f"{event['first']}-{event['last']}"])
        self._set(tags={SUPERSEDED_TAG: ", ".join(text for text in steps if text)})

    def _on_end(self, event: dict[str, Any]) -> None:
        """Close the run, unless another process has it open."""
        tags = event.get("tags", {})
        hashes = [tags[name] for name in tags if name.startswith("output.")]
        self._set(tags={**tags, OUTPUTS_TAG: " ".join(hashes)} if hashes else tags)
        self.entry.follow(event)
        if self.entry.status != RUNNING:
            self.close(self.entry.status)

    def close(self, status: str) -> None:
        """End the run, at the time of its last event."""
        self.client.set_terminated(self.entry.run_id, status, self.entry.last_time)
        self.entry.status, self.entry.open = status, []

    def _on_unknown(self, event: dict[str, Any]) -> None:
        log.warning("run %s: unknown event %r passed over", self.entry.key, event["event"])


def _start_tags(event: dict[str, Any]) -> dict[str, str]:
    tags = {**event["tags"], "cloze.stage": event["stage"], "cloze.host": event["host"]}
    tags["mlflow.source.name"] = f"stages.{event['stage']}"
    if event["item"]:
        tags["cloze.item"] = event["item"]
    if "git.commit" in tags:
        tags["mlflow.source.git.commit"] = tags["git.commit"]
    return tags


def _name(text: str) -> str:
    """A name that MLflow takes for a param, tag or metric: its characters, and a clean path."""
    parts = _UNFIT_CHARACTER.sub("_", text)[:250].split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "_"


def _fit(value: Any) -> str:
    return str(value)[:_LONGEST_VALUE]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
