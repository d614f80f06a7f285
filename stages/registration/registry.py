"""Versions in the model registry: found by content hash, made when absent, pointed at by alias."""

from collections.abc import Mapping
from typing import Any

from stages.registration.candidates import CONTENT_HASH, Candidate


class Registry:
    """The model registry of an MLflow store."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def find(self, candidate: Candidate) -> str | None:
        """The newest version that holds exactly this content; None without one."""
        versions = self.client.search_model_versions(
            f"name = '{candidate.name}' AND tags.`{CONTENT_HASH}` = '{candidate.content_hash}'"
        )
        return max((str(version.version) for version in versions), key=int, default=None)

    def create(self, candidate: Candidate, model_uri: str, tags: Mapping[str, str]) -> str:
        """Register a logged model as a new version; the hash tag comes with it, in one step."""
        import mlflow

        made = mlflow.register_model(
            model_uri, candidate.name, tags={**tags, CONTENT_HASH: candidate.content_hash}
        )
        return str(made.version)

    def annotate(self, name: str, version: str, tags: Mapping[str, str], description: str) -> None:
        """Write what is known of a version now."""
        known = self.client.get_model_version(name, version)
        for tag, value in tags.items():
            if known.tags.get(tag) != value:
                self.client.set_model_version_tag(name, version, tag, value)
        if known.description != description:
            self.client.update_model_version(name, version, description)

    def point(self, alias: str, versions: Mapping[str, str]) -> None:
        """Move the alias of each model to its version."""
        for name, version in versions.items():
            self.client.set_registered_model_alias(name, alias, version)
