"""Versions in the model registry: found by content hash, made when absent, pointed at by alias."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError
from stages.registration.candidates import CONTENT_HASH, TASK_VERSIONS, Candidate
from stages.registration.evidence import PREDICTIONS, PREDICTIONS_HASH

Versions = Mapping[str, str]  # registered name -> version


class Registry:
    """The model registry of an MLflow store."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def find(self, candidate: Candidate) -> str | None:
        """The newest version that holds exactly this content; None without one."""
        versions = self.client.search_model_versions(
            f"name = '{candidate.name}' AND tags.`{CONTENT_HASH}` = '{candidate.content_hash}'"
        )
        if candidate.evidence is not None:
            wanted = candidate.evidence.predictions_hash
            versions = [one for one in versions if one.tags.get(PREDICTIONS_HASH) == wanted]
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
        self.tag(name, version, tags)
        if known.description != description:
            self.client.update_model_version(name, version, description)

    def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Set the tags that are not there yet."""
        known = self.client.get_model_version(name, version).tags
        for tag, value in tags.items():
            if known.get(tag) != value:
                self.client.set_model_version_tag(name, version, tag, value)

    def untag(self, name: str, version: str, tag: str) -> None:
        """Take a tag off where it is there."""
        if tag in self.client.get_model_version(name, version).tags:
            self.client.delete_model_version_tag(name, version, tag)

    def attach(self, name: str, version: str, file: Path) -> None:
        """Put a file beside the model that the version holds, in place of one of its name."""
        source = self.client.get_model_version(name, version).source  # models:/<id of the model>
        self.client.log_model_artifact(source.rpartition("/")[2], str(file))

    def point(self, alias: str, versions: Mapping[str, str]) -> None:
        """Move the alias of each model to its version."""
        for name, version in versions.items():
            self.client.set_registered_model_alias(name, alias, version)

    def behind(self, alias: str, names: Iterable[str]) -> Versions:
        """Of these models those that have the alias, and the version behind it."""
        found = dict[str, str]()
        for name in sorted(set(names)):
            model = self._model(name)
            if model is not None and alias in model.aliases:
                found[name] = str(model.aliases[alias])
        return found

    def replace(self, alias: str, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        """Move an alias from one set of versions to another.

        A model that `after` lacks loses the alias. Whoever calls puts back what fails half-way: the
        same call the other way round, which is repeated until it succeeds.
        """
        self.point(alias, after)
        for name in before:
            if name not in after:
                self.client.delete_registered_model_alias(name, alias)

    def _model(self, name: str) -> Any | None:
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def tags_of(self, name: str, version: str) -> dict[str, str]:
        """The tags of a version.

        Raises: ArtifactError: the registry has none such.
        """
        from mlflow.exceptions import MlflowException

        try:
            return dict(self.client.get_model_version(name, version).tags)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            known = self.client.search_model_versions(f"name = '{name}'")
            there = sorted(int(one.version) for one in known)
            raise ArtifactError(
                f"registry: {name} has no version {version}, only {there}; name one of these"
            ) from error

    def set_of(self, encoder: str, version: str) -> Versions:
        """An encoder's version and those of the task models that it was last registered with.

        Raises: ArtifactError: there is no such version, or it does not say.
        """
        tasks = self.tags_of(encoder, version).get(TASK_VERSIONS)
        if tasks is None:
            raise ArtifactError(
                f"registry: version {version} of {encoder} does not say which task models belong "
                "to it; register it again (dvc repro -f registration)"
            )
        return {encoder: version, **json.loads(tasks)}

    def download_predictions(self, name: str, version: str, folder: Path) -> Path:
        """The predictions that a version carries, in a file below `folder`."""
        import mlflow

        place = folder / name / version
        place.mkdir(parents=True, exist_ok=True)
        return Path(
            mlflow.artifacts.download_artifacts(
                f"models:/{name}/{version}/{PREDICTIONS}", dst_path=str(place)
            )
        )
