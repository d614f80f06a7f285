"""The flows' parameter models: every section optional, its fields prefilled from params.yaml.

Prefect turns it into the form of its UI. A section left out means "as in the checkout"; one that is
given counts as far as it was filled in. Fields keep their types, bounds and the sentences under
them. The models' cross-field rules do not apply here: they are checked on the whole, once recipe
and overrides are in place.
"""

import ast
import inspect
import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from pipelines.recipes import recipe_names
from pipelines.settings import SECTIONS, section_model
from stages.core.execution import LAUNCHER_VARIABLE, LAUNCHERS, LOCAL
from stages.core.settings import PARAMS_FILE, read_yaml
from stages.pretraining.params import Budget

NO_RECIPE = "none"
NO_REVISION = "none"
_PLACE = "position"  # by which Prefect's UI orders fields: PostgreSQL forgets their order
Launcher = Literal[LAUNCHERS]  # type: ignore[valid-type]


def recipe_choice(root: Path) -> Any:
    """The type of the recipe's name: one of those of the workspace, or none."""
    return Literal[(NO_RECIPE, *recipe_names(root))]  # type: ignore[return-value]


def usual_launcher() -> str:
    """What the form proposes: CLOZE_LAUNCHER, where it names one; else this machine."""
    named = os.environ.get(LAUNCHER_VARIABLE, "")
    return named if named in LAUNCHERS else LOCAL


def budget_form() -> type[BaseModel]:
    """The budget of a comparison, described and bounded as in the settings; nothing prefilled."""
    return _prefilled(Budget, {"unit": "flops", "amount": 3e13})


def settings_form(root: Path) -> type[BaseModel]:
    """The model of all sections, with the defaults of the workspace's params.yaml."""
    values = read_yaml(root / PARAMS_FILE)
    sections: dict[str, Any] = {}
    for place, name in enumerate(SECTIONS):
        model = _prefilled(section_model(name), values.get(name, {}))
        about = f"Overrides of section {name}; left out: as in the recipe, else in {PARAMS_FILE}."
        field = Field(default=None, description=about, json_schema_extra={_PLACE: place})
        sections[name] = (model | None, field)
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
    """A copy of a settings model without its rules: described, prefilled, nothing required."""
    descriptions = _field_sentences(model)
    fields: dict[str, Any] = {}
    for place, (name, known) in enumerate(model.model_fields.items()):
        annotation, default = _relaxed(known.annotation, values.get(name)), _default(known)
        nested = _model_of(annotation)
        if known.metadata:  # bounds, and whether a list may stand for a tuple
            annotation = Annotated[(annotation, *known.metadata)]
        if nested is not None:
            default = {"default_factory": nested}
        elif name in values:
            default = {"default": values[name]}
        elif known.is_required():
            default, annotation = {"default": None}, annotation | None
        default |= {"description": descriptions.get(name), "json_schema_extra": {_PLACE: place}}
        fields[name] = (annotation, Field(**default))
    config = ConfigDict(extra="forbid", strict=True)
    return create_model(model.__name__, __doc__=model.__doc__, __config__=config, **fields)


def _default(field: FieldInfo) -> dict[str, Any]:
    if field.default_factory is not None:
        return {"default_factory": field.default_factory}
    return {"default": field.default}


def _relaxed(annotation: Any, value: Any) -> Any:
    """The type with the models in it replaced by their copies; lists are given whole."""
    values = value if isinstance(value, Mapping) else {}
    model = _model_of(annotation)
    if model is not None:
        return _prefilled(model, values)
    arguments = get_args(annotation)
    if get_origin(annotation) is dict and _model_of(arguments[1]) is not None:
        return dict[arguments[0], _prefilled(arguments[1], {}) | None]  # type: ignore[misc,valid-type]
    if len(arguments) == 2 and arguments[1] is NoneType and _model_of(arguments[0]) is not None:
        return _prefilled(arguments[0], values) | None
    return annotation


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The model itself, where a type is one."""
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
