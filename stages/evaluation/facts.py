"""How facts are shown: numbers as texts, names as labels, any manifest as tables.

Manifests belong to their stages and grow with them. So nothing here knows their keys: whatever
nested mapping comes in goes out as tables, shares as percentages and bytes in readable units.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOTHING = "\u2013"
_MINUS = "\u2212"
_SHARES = ("share", "fraction", "ratio", "probability", "accuracy", "coverage")
_UNITS = ("B", "kB", "MB", "GB", "TB")
_REPLACEMENT = "\ufffd"


@dataclass(frozen=True)
class Table:
    """Rows of a name and texts; without `columns` it is a list of names and values."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def visible(text: str) -> str:
    """A text that HTML can hold and a person can see: control characters become their pictures.

    Line feed and tab stay. What no encoding can hold (lone surrogates) becomes U+FFFD.
    """
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs"):
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else _REPLACEMENT


def label(key: str) -> str:
    """A key as words."""
    return key.replace("_", " ")


def points(value: float | None) -> str:
    """A score times 100, one digit; a dash where there is none."""
    if value is None:
        return NOTHING
    return f"{round(100 * value, 1) + 0.0:.1f}".replace("-", _MINUS)


def deviation(sd: float | None) -> str:
    """A standard deviation of scores times 100; a single seed has none."""
    return "one seed" if sd is None else f"\u00b1 {points(sd)}"


def signed_points(value: float) -> str:
    """A difference of scores times 100, its sign always there."""
    text = points(value)
    return text if text.startswith(_MINUS) or text == "0.0" else f"+{text}"


def size(num_bytes: float) -> str:
    """Bytes in powers of 1,000."""
    power = 0
    while num_bytes >= 999.95 and power < len(_UNITS) - 1:
        num_bytes, power = num_bytes / 1000, power + 1
    return f"{num_bytes:.{min(power, 1)}f} {_UNITS[power]}"


def text(key: str, value: Any) -> str:
    """One value as a text; `key` tells shares and bytes from plain numbers."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(key, value)
    if isinstance(value, Mapping):
        return ", ".join(f"{label(name)} {text(name, item)}" for name, item in value.items()) or (
            "none"
        )
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(text(key, item) for item in value) or "none"
    return str(value)


def _number(key: str, value: float) -> str:
    if key.endswith(_SHARES) and 0 <= value <= 1:
        return f"{100 * value:.4g} %"
    if "bytes" in key.split("_") and abs(value) >= 1000:
        return size(value)
    if isinstance(value, int):
        return f"{value:,}".replace("-", _MINUS)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", _MINUS)
    return f"{value:.4g}".replace("-", _MINUS)


def tables(
    title: str, facts: Mapping[str, Any], hidden: Iterable[str] = (), group_title: str = ""
) -> list[Table]:
    """A nested mapping as tables: its plain values, then each group of mappings with equal keys.

    `group_title` names a group; without it the names of its members do.
    """
    skipped = set(hidden)
    plain = {key: value for key, value in facts.items() if key not in skipped}
    nested = {key: plain.pop(key) for key in list(plain) if _is_nested(plain[key])}
    found = []
    if plain:
        rows = tuple((label(key), (text(key, value),)) for key, value in plain.items())
        found.append(Table(title, (), rows))
    groups: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for key, value in nested.items():
        if any(_is_nested(inner) for inner in value.values()):
            found.extend(tables(_heading(key), value, group_title=_heading(key)))
        else:
            groups.setdefault(tuple(value), {})[key] = value
    found.extend(_grid(group_title, keys, members) for keys, members in groups.items())
    return found


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value)


def _heading(key: str) -> str:
    """The title of a table; a bare number is a sequence length."""
    return f"{key} tokens" if key.isdigit() else label(key)


def _grid(title: str, keys: tuple[str, ...], members: Mapping[str, Mapping[str, Any]]) -> Table:
    """Mappings with the same keys as one table, the longer side downwards."""
    if len(members) == 1:
        ((name, values),) = members.items()
        return Table(
            _heading(name), (), tuple((label(key), (text(key, values[key]),)) for key in keys)
        )
    title = title or " and ".join(label(name) for name in members)
    if len(keys) > len(members):
        columns = tuple(label(name) for name in members)
        rows = tuple(
            (label(key), tuple(text(key, values[key]) for values in members.values()))
            for key in keys
        )
        return Table(title, columns, rows)
    rows = tuple(
        (label(name), tuple(text(f"{key}_{name}", values[key]) for key in keys))
        for name, values in members.items()
    )
    return Table(title, tuple(label(key) for key in keys), rows)


def settings(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Settings as dotted names and the texts that params.yaml would hold.

    Mappings below `tasks` share most of their values: what all agree on is told once, for `*`,
    and a task that adds nothing is said to be `as *`.
    """
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if key == "tasks" and _is_nested(value) and all(map(_is_nested, value.values())):
            rows += settings(_shared_once(value), f"{prefix}{key}.")
        elif _is_nested(value):
            rows += settings(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", _setting(value)))
    return rows


def _shared_once(members: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Members of one shape with their common values moved to a member `*`."""
    first = next(iter(members.values()))
    shared = {
        key: value
        for key, value in first.items()
        if all(key in other and other[key] == value for other in members.values())
    }
    rest = {
        name: {key: value for key, value in member.items() if key not in shared} or "as *"
        for name, member in members.items()
    }
    return {"*": shared, **rest} if shared and len(members) > 1 else {**members}


def _setting(value: Any) -> str:
    """A setting as it is written, not as it is read aloud: no thousands marks, no percentages."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key}: {_setting(item)}" for key, item in value.items())
        return f"{{{inner}}}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(_setting(item) for item in value)}]"
    return str(value)
