"""params.yaml -> one frozen, strict pydantic model per section, with errors a person can act on.

YAML is read with ruamel, DVC's own parser, so that `1e-4` is a number here as it is there. A
section model has no default for what params.yaml must state, and refuses what it does not know.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.core.errors import SettingsError

PARAMS_FILE = Path("params.yaml")
S = TypeVar("S", bound="Section")


class Section(BaseModel):
    """Base of every section of params.yaml: immutable, strictly typed, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Checkpoint(Section):
    """A published or earlier checkpoint, pinned so that the same settings mean the same weights."""

    checkpoint: str = Field(min_length=1)
    """A local folder, or the id of a model on the Hugging Face hub."""
    revision: str = Field(min_length=7)
    """A local folder's content hash, or the hub's commit hash."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping into plain Python values.

    Raises: SettingsError: the file is missing, is not YAML, or is not a mapping.
    """
    if not path.is_file():
        raise SettingsError(f"{path}: not found; run from the root of the repository")
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(values, dict):
        found = type(values).__name__
        raise SettingsError(f"{path}: expected a mapping of sections, found {found}")
    return values


def parse_section(
    model: type[S], values: Mapping[str, Any], *, where: str, file: Path = PARAMS_FILE
) -> S:
    """Validate one section; `where` is its dotted name, for messages.

    Raises: SettingsError: one line per fault: where, what was found, what was expected.
    """
    if not isinstance(values, Mapping):
        raise SettingsError(f"{file}: {where} is {values!r}, expected a mapping")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        lines = [_fault(model, fault, where=where, file=file) for fault in error.errors()]
        raise SettingsError("\n".join(lines)) from error


def load_section(model: type[S], name: str, file: Path = PARAMS_FILE) -> S:
    """Read and validate section `name` of params.yaml."""
    values = read_yaml(file)
    if name not in values:
        raise SettingsError(f"{file}: section {name!r} is missing; there are {sorted(values)}")
    return parse_section(model, values[name], where=name, file=file)


def _fault(model: type[Section], fault: Any, *, where: str, file: Path) -> str:
    """Put one pydantic fault into this project's words."""
    location = [str(part) for part in fault["loc"]]
    dotted = ".".join([where, *location])
    if fault["type"] == "extra_forbidden":
        near = get_close_matches(location[-1], _known_keys(model, location[:-1]), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{file}: {dotted} is not a known parameter{hint}"
    if fault["type"] == "missing":
        return f"{file}: {dotted} is missing; every parameter is stated in {file}"
    found = fault["input"]
    hint = ""
    if fault["type"] in ("less_than", "less_than_equal") and isinstance(found, (int, float)):
        limit = next(iter(fault["ctx"].values()))
        if limit == 1 and 1 < found <= 100:
            hint = f"; did you mean {found / 100:g}?"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{file}: {dotted}: {message}"
    return f"{file}: {dotted} is {found!r}, expected: {message}{hint}"


def _known_keys(model: Any, location: list[str]) -> list[str]:
    """Field names of the model that `location` leads to, as far as it can be followed."""
    fields = model.model_fields
    for part in location:
        annotation = fields[part].annotation if part in fields else None
        nested = getattr(annotation, "model_fields", None)
        if nested is None:
            return list(fields) if part not in fields else []
        fields = nested
    return list(fields)
