"""Recipes and overrides: what differs from params.yaml, applied to it without losing a comment.

A recipe (recipes/<name>.yaml) applies to the params.yaml that is there: mappings are merged, lists
and scalars replaced, `finetuning.tasks` replaced whole (a recipe names its tasks, it does not add
to yours). A null for a task takes it off; a null for a parameter that params.yaml does not state
changes nothing, so that a recipe can switch off another source's block without adding noise.
`extends: [names]` puts other recipes, or parts below recipes/parts/, before it.
"""

import copy
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from pipelines.settings import Settings, parse_settings
from stages.core.errors import SettingsError
from stages.core.settings import PARAMS_FILE, read_yaml

RECIPES_FOLDER = Path("recipes")
REPLACED_WHOLE = (("finetuning", "tasks"),)
_EXTENDS = "extends"
_LINE_WIDTH = 100
_TOP_LEVEL_KEY = re.compile(r"^[a-z_]+:")


def recipe_names(root: Path) -> list[str]:
    """The recipes of a workspace, sorted."""
    return sorted(path.stem for path in (root / RECIPES_FOLDER).glob("*.yaml"))


def read_recipe(root: Path, name: str) -> dict[str, Any]:
    """What the recipe sets, with what it extends.

    Raises: SettingsError: there is no such recipe, it is no mapping, or it extends itself.
    """
    return _read_recipe(root, name, ())


def _read_recipe(root: Path, name: str, extending: tuple[str, ...]) -> dict[str, Any]:
    path = root / RECIPES_FOLDER / f"{name}.yaml"
    if not path.is_file():
        names = recipe_names(root)
        near = get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SettingsError(f"{RECIPES_FOLDER}/{name}.yaml: not found; there are {names}{hint}")
    if name in extending:
        chain = " -> ".join([*extending, name])
        raise SettingsError(f"{RECIPES_FOLDER}/{name}.yaml: extends itself ({chain})")
    own = read_yaml(path)
    whole: dict[str, Any] = {}
    for base in own.pop(_EXTENDS, []):
        _lay_over(whole, _read_recipe(root, base, (*extending, name)), ())
    _lay_over(whole, own, ())
    return whole


def _lay_over(whole: dict[str, Any], change: Mapping[str, Any], path: tuple[str, ...]) -> None:
    """Merge one recipe over another in place, as recipes are merged over params.yaml."""
    for key, value in change.items():
        here = (*path, key)
        below = whole.get(key)
        if isinstance(value, Mapping) and isinstance(below, dict) and here not in REPLACED_WHOLE:
            _lay_over(below, value, here)
        else:
            whole[key] = copy.deepcopy(value)


def parse_assignment(text: str) -> dict[str, Any]:
    """`section.key=value` as nested settings; the value is read as YAML.

    Raises: SettingsError: it is no assignment, or the value is not YAML.
    """
    dotted, equals, value = text.partition("=")
    names = dotted.strip().split(".")
    if not equals or len(names) < 2 or not all(names):
        raise SettingsError(f"--set {text!r}: expected section.key=value")
    try:
        nested: Any = YAML(typ="safe", pure=True).load(value)
    except YAMLError as error:
        raise SettingsError(f"--set {text!r}: the value is not YAML: {error}") from error
    for name in reversed(names):
        nested = {name: nested}
    assert isinstance(nested, dict)
    return nested


def changed_params(
    root: Path, recipe: str | None, overrides: Sequence[Mapping[str, Any]]
) -> tuple[str, Settings]:
    """The text of params.yaml with recipe and overrides applied, and its validated settings.

    Overrides never replace `finetuning.tasks` whole: they name single parameters.
    Raises: SettingsError: a fault in the recipe, the overrides or the result, all of them listed.
    """
    text = changed_text(root, recipe, overrides)
    where = PARAMS_FILE
    if recipe is not None:
        where = Path(f"{PARAMS_FILE} with {RECIPES_FOLDER}/{recipe}.yaml")
    values = YAML(typ="safe", pure=True).load(text)
    return text, parse_settings(values, root=root, file=where)


def changed_text(root: Path, recipe: str | None, overrides: Sequence[Mapping[str, Any]]) -> str:
    """The text of params.yaml with recipe and overrides applied, not validated.

    Raises: SettingsError: params.yaml or the recipe cannot be read.
    """
    path = root / PARAMS_FILE
    read_yaml(path)  # says in our words what is wrong with the file
    node = _round_trip().load(path.read_text(encoding="utf-8"))
    _separate(node, set())
    if recipe is not None:
        _merge(node, read_recipe(root, recipe), (), replaced_whole=REPLACED_WHOLE)
    for override in overrides:
        _merge(node, override, (), replaced_whole=())
    return _dump(node)


def write_params(root: Path, text: str) -> None:
    """Replace params.yaml in one step."""
    path = root / PARAMS_FILE
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def differences(before: str, after: str) -> Iterator[str]:
    """One line a parameter that was changed, added or removed."""
    yaml = YAML(typ="safe", pure=True)
    old, new = dict(_leaves(yaml.load(before))), dict(_leaves(yaml.load(after)))
    for name in [*new, *(name for name in old if name not in new)]:
        if name not in old:
            yield f"+ {name}: {new[name]}"
        elif name not in new:
            yield f"- {name}: {old[name]}"
        elif old[name] != new[name]:
            yield f"~ {name}: {old[name]} -> {new[name]}"


def _merge(
    node: CommentedMap,
    change: Mapping[str, Any],
    path: tuple[str, ...],
    *,
    replaced_whole: Sequence[tuple[str, ...]],
) -> None:
    """Apply `change` to `node` in place; `path` is where the node hangs."""
    for key, value in change.items():
        here = (*path, key)
        if value is None and (path in REPLACED_WHOLE or key not in node):
            node.pop(key, None)
            continue
        is_merged = isinstance(value, Mapping) and isinstance(node.get(key), CommentedMap)
        if is_merged and here not in replaced_whole:
            child = node[key]
            if child.anchor.value:  # `&sample`: what is changed here must not change its aliases
                child = copy.deepcopy(child)
                child.yaml_set_anchor(None)
                node[key] = child
            _merge(child, value, here, replaced_whole=replaced_whole)
            continue
        new = _as_node(value)
        if key not in node or node[key] != new:  # what is equal keeps its style and comments
            node[key] = new


def _separate(node: CommentedMap, seen: set[int]) -> None:
    """Give each alias of a machine's anchor (`&id001`) a copy of its own: they are no anchors here.

    What is changed under one name must not change under another.
    """
    for key, child in node.items():
        if not isinstance(child, CommentedMap):
            continue
        if id(child) not in seen:
            seen.add(id(child))
            _separate(child, seen)
        elif not child.anchor.value:
            node[key] = copy.deepcopy(child)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of every parameter; a list is one value."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _as_node(value: Any, *, is_listed: bool = False) -> Any:
    """Plain values for the round trip: in the style of params.yaml, listed mappings on one line."""
    if isinstance(value, Mapping):
        node = CommentedMap({key: _as_node(item) for key, item in value.items()})
        if is_listed or not value:
            node.fa.set_flow_style()
        return node
    if isinstance(value, (list, tuple)):
        sequence = CommentedSeq(_as_node(item, is_listed=True) for item in value)
        if not any(isinstance(item, Mapping) for item in value):
            sequence.fa.set_flow_style()
        return sequence
    return value


def _round_trip() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _LINE_WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _dump(node: CommentedMap) -> str:
    """The text, with an empty line before each section: it is lost with the value above it."""
    stream = io.StringIO()
    _round_trip().dump(node, stream)
    lines: list[str] = []
    for line in stream.getvalue().splitlines():
        if _TOP_LEVEL_KEY.match(line) and lines and lines[-1] and not lines[-1].startswith("#"):
            lines.append("")
        lines.append(line)
    return "\n".join(lines) + "\n"
