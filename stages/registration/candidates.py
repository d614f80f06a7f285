"""What is to be registered: names, content hashes, scores and lineage, before MLflow is asked.

Pure functions. A candidate is identified by the content hash of its model folder and, of a task
model, of its predictions: the same weights are one version however often they are registered, and
what a version was judged by never changes. The facts beside it become tags.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError
from stages.registration.evidence import Evidence

CONTENT_HASH = "cloze.content_hash"
ENCODER_HASH = "cloze.encoder_hash"
ENCODER_VERSION = "cloze.encoder_version"
TASK_VERSIONS = "cloze.task_versions"  # of an encoder: registered name -> version, as JSON
_LONGEST_DESCRIPTION = 5000  # characters that the registry takes
_UNFIT_FOR_A_NAME = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True)
class Candidate:
    """One model folder on its way into the registry."""

    name: str  # in the registry
    folder: Path
    content_hash: str
    task: str | None = None  # None: the encoder
    is_pair: bool = False
    evidence: Evidence | None = None  # of a task model alone
    is_pooled: bool = False  # its head reads pooled layers: transformers has no such class
    encoder_hash: str | None = None  # content hash of the encoder that a task model began from

    @property
    def kind(self) -> str:
        """The kind of its task; empty for the encoder."""
        return self.evidence.kind if self.evidence else ""


def registered_name(prefix: str, task: str) -> str:
    """`cloze-sst-2` for task SST-2: lower case, what a URL cannot hold replaced by `-`."""
    return prefix + _UNFIT_FOR_A_NAME.sub("-", task.lower()).strip("-")


def require_distinct(candidates: list[Candidate]) -> None:
    """Refuse two models under one registered name.

    Raises: ArtifactError: two tasks, or a task and the encoder, come to the same name.
    """
    holders: dict[str, Candidate] = {}
    for candidate in candidates:
        other = holders.setdefault(candidate.name, candidate)
        if other is not candidate:
            raise ArtifactError(
                f"params.yaml: registration: {other.task or 'the encoder'} and {candidate.task} "
                f"would both be registered as {candidate.name!r}; rename a task or change "
                "registration.task_prefix"
            )


def score_tags(candidate: Candidate, evaluation: Mapping[str, Any]) -> dict[str, str]:
    """Mean scores over the seeds: a task model's own, the encoder's of every task."""
    tasks = evaluation["tasks"]
    if candidate.task:
        return _means("score", tasks[candidate.task]["encoder"])
    tags: dict[str, str] = {}
    for task, entry in tasks.items():
        tags |= _means(f"score.{task}", entry["encoder"])
    return tags


def _means(prefix: str, scores: Mapping[str, Any]) -> dict[str, str]:
    return {f"{prefix}.{metric}": f"{spread['mean']:.6g}" for metric, spread in scores.items()}


def describe(
    candidate: Candidate, evaluation: Mapping[str, Any], links: Mapping[str, str], card: str = ""
) -> str:
    """The version's text in the registry; `links` leads to the runs that made its artefacts.

    The model card's text follows where the registry takes both.
    """
    if candidate.task:
        what = f"Task {candidate.task}, the model of the median seed."
    else:
        what = "Pre-trained encoder."
    scores = [
        f"{name.removeprefix('score.')} {value}"
        for name, value in score_tags(candidate, evaluation).items()
    ]
    made = [f"[{path}]({link})" for path, link in links.items()]
    parts = [what, "Mean over the seeds: " + ", ".join(scores) + "." if scores else ""]
    parts.append("Made by the runs of " + ", ".join(made) + "." if made else "")
    text = "\n\n".join(part for part in parts if part)
    with_card = f"{text}\n\n{card}".strip()
    if len(with_card) <= _LONGEST_DESCRIPTION:
        return with_card
    return f"{text}\n\nThe whole model card is README.md beside the model."
