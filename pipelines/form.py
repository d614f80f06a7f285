"""The flow's parameter model: every section optional, its fields prefilled from params.yaml.

Prefect turns it into the form of its UI. A section left out means "as in the checkout"; one that is
given counts as far as it was filled in. Fields keep their types, bounds and the sentences under
them. The models' cross-field rules do not apply here: they are checked on the whole, once recipe
and overrides are in place.
"""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from pipelines.recipes import recipe_names
from pipelines.settings import SECTIONS, section_model
from stages.core.settings import PARAMS_FILE, read_yaml

NO_RECIPE = "none"


def recipe_choice(root: Path) -> Any:
    """The type of the recipe's name: one of those of the workspace, or none."""
    return Literal[(NO_RECIPE, *recipe_names(root))]  # type: ignore[return-value]


def settings_form(root: Path) -> type[BaseModel]:
    """The model of all sections, with the defaults of the workspace's params.yaml."""
    values = read_yaml(root / PARAMS_FILE)
    sections: dict[str, Any] = {}
    for name in SECTIONS:
        model = _prefilled(section_model(name), values.get(name, {}))
        about = f"Overrides of section {name}; left out: as in the recipe, else in {PARAMS_FILE}."
        sections[name] = (model | None, Field(default=None, description=about))
    return create_model("Overrides", __config__=ConfigDict(extra="forbid"), **sections)


def given_overrides(form: BaseModel) -> dict[str, Any]:
    """What the form sets: sections that are given, and in them what was filled in."""
    given = {name: getattr(form, name) for name in form.model_fields_set}
    return {
        name: section.model_dump(exclude_unset=True)
        for name, section in given.items()
        if section is not None
    }


def _prefilled(model: type[BaseModel], values: Mapping[str, Any]) -> type[BaseModel]:
    """A copy of a settings model without its rules, with descriptions and `values` as defaults."""
    descriptions = _field_sentences(model)
    fields: dict[str, Any] = {}
    for name, known in model.model_fields.items():
        field, annotation = copy(known), known.annotation
        field.description = descriptions.get(name)
        if name in values:
            nested = _model_of(annotation)
            if nested is not None and isinstance(values[name], Mapping):
                annotation = _prefilled(nested, values[name])
                field.default_factory = annotation
            else:
                field.default = values[name]
            field.validate_default = False
        fields[name] = (annotation, field)
    config = ConfigDict(extra="forbid", strict=True)
    return create_model(model.__name__, __doc__=model.__doc__, __config__=config, **fields)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The model itself, where a field is a nested model; a choice of types is left as it is."""
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_model else None


def _field_sentences(model: type[BaseModel]) -> dict[str, str]:
    """Field -> the string literal under it in the source, of the model and its bases."""
    sentences: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if not issubclass(owner, BaseModel) or owner is BaseModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        assert isinstance(body, ast.ClassDef)
        for statement, below in zip(body.body, body.body[1:], strict=False):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(below, ast.Expr):
                continue
            if isinstance(statement.target, ast.Name) and isinstance(below.value, ast.Constant):
                sentences[statement.target.id] = inspect.cleandoc(str(below.value.value))
    return sentences
