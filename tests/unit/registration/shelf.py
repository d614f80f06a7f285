"""A registry with constructed versions: no weights, only what the gate reads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.tracking.store import connect
from stages.registration.candidates import CONTENT_HASH, TASK_VERSIONS
from stages.registration.evidence import Evidence
from stages.registration.params import CHAMPION, PromotionRule, RegistrationParams
from stages.registration.promotion import Promotions
from tests.unit.registration.builders import classifier, right_in

ENCODER = "cloze-encoder"
PARAMS = RegistrationParams(
    encoder_name=ENCODER,
    task_prefix="cloze-",
    alias="candidate",
    promote_when=PromotionRule(min_macro_gain=0.0, min_probability=0.95, max_task_loss=0.02),
)


class Shelf:
    """The store, and what registration would have put into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = connect()
        self.client = self.store.client
        self.promotions = Promotions(PARAMS, self.store)
        self.out = folder / "reports"

    def register(self, right: Mapping[str, int], **facts: Any) -> dict[str, str]:
        """A candidate whose models get so many of 200 examples of each task right."""
        number = len(self.client.search_model_versions(f"name = '{ENCODER}'")) + 1
        tasks = {}
        for task, count in right.items():
            name = f"cloze-{task.lower()}"
            evidence = classifier(
                self.folder / f"{task}-{number}",
                [1.0] * 200,
                {1: right_in(count)},
                task=task,
                **facts,
            )
            tasks[name] = self.put(name, f"{task}-{count}", evidence)
        encoder = self.put(ENCODER, f"encoder-{number}", None)
        tags = {TASK_VERSIONS: json.dumps(tasks)}
        self.promotions.registry.tag(ENCODER, encoder, tags)
        versions = {ENCODER: encoder, **tasks}
        self.promotions.registry.point("candidate", versions)
        return versions

    def put(self, name: str, content: str, evidence: Evidence | None) -> str:
        """A new version with this content hash."""
        import mlflow

        tags = {CONTENT_HASH: content, **(evidence.tags() if evidence else {})}
        logged = mlflow.initialize_logged_model(name, experiment_id=self.store.experiment_id)
        if evidence is not None:
            self.client.log_model_artifact(logged.model_id, str(evidence.predictions))
        mlflow.finalize_logged_model(logged.model_id, "READY")
        made = mlflow.register_model(f"models:/{logged.model_id}", name, tags=tags)
        return str(made.version)

    def gate(self, *leaves_out: str) -> dict[str, Any]:
        return self.promotions.gate(leaves_out, self.out)

    def champions(self, *more: str) -> dict[str, str]:
        names = [ENCODER, "cloze-rte", "cloze-qnli", *more]
        return dict(self.promotions.registry.behind(CHAMPION, names))

    def tags(self, name: str, version: str) -> dict[str, str]:
        """What the decisions wrote onto a version."""
        tags = self.promotions.registry.tags_of(name, version)
        prefix = "cloze.promotion."
        return {n.removeprefix(prefix): t for n, t in tags.items() if n.startswith(prefix)}
