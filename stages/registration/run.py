"""Registration: the encoder and every evaluated task's model become versions in the registry.

In: the evaluation, the model folders with their predictions, every stage's manifest, dvc.lock.
Out: versions with tags and a model card, the alias, and `registration.json`, which holds hashes
alone: version numbers and times are the registry's. All versions exist before the first alias
moves, so a failure leaves the aliases as they were.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stages.core.artifacts import content_hash, read_json, read_manifest, write_json, writing
from stages.core.errors import ArtifactError, TrackingError
from stages.core.logs import fields
from stages.core.tracking import lineage
from stages.core.tracking.journal import RunJournal
from stages.core.tracking.shipper import flush
from stages.core.tracking.store import TrackingStore, connect, tracking_errors
from stages.registration.candidates import (
    ENCODER_HASH,
    ENCODER_VERSION,
    TASK_VERSIONS,
    Candidate,
    describe,
    registered_name,
    require_distinct,
    score_tags,
)
from stages.registration.card import card_body, card_header
from stages.registration.card_facts import CardFacts
from stages.registration.evidence import read_evidence
from stages.registration.packaging import POOLED_FILE, log_candidate, model_folder, use_of
from stages.registration.params import RegistrationParams
from stages.registration.registry import Registry

log = logging.getLogger(__name__)
DESCRIBED = ("tasks", "corpus", "tokenizer", "encoding", "masking", "pretraining")
INPUTS = ("evaluation", *DESCRIBED, "finetuning")


@dataclass(frozen=True)
class Origin:
    """Where the versions come from: the artefacts of dvc.lock and the runs that made them."""

    run_id: str  # of this stage
    experiment_id: str
    tags: dict[str, str]
    links: dict[str, str]  # artefact path -> its run's page
    costs: dict[str, float]  # what the run of pre-training measured


def run(params: RegistrationParams, paths: Mapping[str, Path], journal: RunJournal) -> None:
    """Register what `paths` holds and write `paths["registration"]`.

    Raises: StorageError: the disk is full, read-only or not permitted.
    """
    evaluation = read_json(paths["evaluation"])
    candidates = _candidates(params, paths, evaluation)
    facts = _card_facts(paths, evaluation, candidates[0])
    store = connect()
    flush()  # versions link to runs, this stage's own among them
    with tracking_errors("cannot register the models"):
        origin = _origin(store, journal.key, paths)
        facts = replace(facts, costs=origin.costs)
        registry = Registry(store.client)
        registry.point(params.alias, _register(registry, candidates, facts, origin))
    with writing(paths["registration"]):
        paths["registration"].parent.mkdir(parents=True, exist_ok=True)
        write_json(paths["registration"], _summary(params.alias, candidates))


def _candidates(
    params: RegistrationParams, paths: Mapping[str, Path], evaluation: Mapping[str, Any]
) -> list[Candidate]:
    """The encoder first, then the tasks of the evaluation in the order of their names."""
    tasks = read_manifest(paths["tasks"], "tasks")["tasks"]
    read_manifest(paths["pretraining"], "pretraining")
    encoder = paths["pretraining"] / "encoder"
    encoder_hash = content_hash(encoder)
    candidates = [Candidate(params.encoder_name, encoder, encoder_hash)]
    for task in sorted(evaluation["tasks"]):
        if task not in tasks:
            raise ArtifactError(
                f"{paths['evaluation']}: task {task!r} is not in {paths['tasks']}; "
                "run evaluation again"
            )
        manifest = read_manifest(paths["finetuning"] / task, "finetuning")
        folder = model_folder(paths["finetuning"], task)
        candidates.append(
            Candidate(
                name=registered_name(params.task_prefix, task),
                folder=folder,
                content_hash=content_hash(folder),
                task=task,
                is_pair=tasks[task].get("is_pair", False),
                is_pooled=(folder / POOLED_FILE).is_file(),
                evidence=read_evidence(paths["finetuning"] / task, tasks[task]),
                encoder_hash=manifest["start"],
            )
        )
    require_distinct(candidates)
    return candidates


def _card_facts(
    paths: Mapping[str, Path], evaluation: Mapping[str, Any], encoder: Candidate
) -> CardFacts:
    tasks = evaluation["tasks"]
    return CardFacts(
        manifests={stage: read_manifest(paths[stage], stage) for stage in DESCRIBED},
        finetuned={name: read_manifest(paths["finetuning"] / name, "finetuning") for name in tasks},
        evaluation=evaluation,
        costs={},
        pipeline=use_of(encoder).task,
    )


def _origin(store: TrackingStore, key: str, paths: Mapping[str, Path]) -> Origin:
    """The run of this stage, and for every artefact its hash and the run that made it."""
    own = store.find_run(key)
    if own is None:
        raise TrackingError(f"run {key} is not in MLflow, though its journal was shipped")
    tags, links, costs = lineage.git_facts(), dict[str, str](), dict[str, float]()
    for path, found in lineage.locked_outputs().items():
        if path == paths["registration"].as_posix():
            continue
        tags[f"artefact.{path}"] = found
        producer = store.find_producer(found)
        if producer is not None:
            run_id = producer.info.run_id
            tags[f"run.{path}"] = run_id
            links[path] = f"#/experiments/{producer.info.experiment_id}/runs/{run_id}"
            if path == paths["pretraining"].as_posix():
                costs = dict(producer.data.metrics)
    return Origin(own.info.run_id, store.experiment_id, tags, links, costs)


def _register(
    registry: Registry, candidates: list[Candidate], facts: CardFacts, origin: Origin
) -> dict[str, str]:
    """Find or make each candidate's version; registered name -> version."""
    evaluation, versions = facts.evaluation, dict[str, str]()
    encoder = candidates[0]
    for candidate in candidates:
        tags = {**origin.tags, **score_tags(candidate, evaluation)}
        if candidate.evidence is not None:
            tags |= candidate.evidence.tags()
        if candidate.encoder_hash:
            is_bound = candidate.encoder_hash == encoder.content_hash
            tags[ENCODER_HASH] = candidate.encoder_hash
            tags[ENCODER_VERSION] = versions[encoder.name] if is_bound else "none"
        version = registry.find(candidate)
        is_new = version is None
        if version is None:
            uri = log_candidate(
                candidate, run_id=origin.run_id, experiment_id=origin.experiment_id, tags=tags
            )
            version = registry.create(candidate, uri, tags)
        body = card_body(candidate, facts)
        text = describe(candidate, evaluation, origin.links, body)
        registry.annotate(candidate.name, version, tags, text)
        _attach_card(registry, candidate, version, card_header(candidate, facts) + body)
        versions[candidate.name] = version
        event = "registered" if is_new else "already registered"
        log.info("%s", fields(event, model=candidate.name, version=version))
    tasks = {name: version for name, version in versions.items() if name != encoder.name}
    registry.tag(encoder.name, versions[encoder.name], {TASK_VERSIONS: json.dumps(tasks)})
    return versions


def _attach_card(registry: Registry, candidate: Candidate, version: str, card: str) -> None:
    """Put the model card beside the model, in place of an earlier one."""
    with TemporaryDirectory(prefix="cloze-card-") as folder:
        file = Path(folder) / "README.md"
        file.write_text(card, encoding="utf-8")
        registry.attach(candidate.name, version, file)


def _summary(alias: str, candidates: list[Candidate]) -> dict[str, Any]:
    models = {}
    for candidate in candidates:
        entry = {"content_hash": candidate.content_hash}
        if candidate.encoder_hash:
            entry["encoder_hash"] = candidate.encoder_hash
        if candidate.evidence:
            entry["predictions_hash"] = candidate.evidence.predictions_hash
        models[candidate.name] = entry
    return {"alias": alias, "models": models}
