"""The embedded corpus: English prose of docstrings of the standard library and installed packages.

It needs no network and is licensed with the packages. Source files are parsed with `ast`, never
imported. Of each docstring only paragraphs that read as prose are kept: no code, doctests, tables,
signatures or markup. One document a module, in the order of names; a paragraph that stood before
is left out. A hash of a document's id assigns it to training, validation or the sample tasks.
"""

import ast
import hashlib
import inspect
import platform
import re
import sysconfig
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from stages.core.errors import ArtifactError
from stages.core.parallel import ordered_map
from stages.core.random import hash_fraction

PACKAGES = ("numpy", "pandas", "scipy", "torch")
TASKS_FRACTION = 0.15  # set aside for the sample tasks: about 6,000 sentences
VALIDATION_FRACTION = 0.03
Split = Literal["train", "validation", "tasks"]

_MAX_BYTES = 10_000_000
_LEAST_CHARACTERS = 300  # of prose in a module, to make a document
_FILES_AT_ONCE = 40
_LEFT_OUT_FOLDERS = {"test", "tests", "testing", "site-packages", "idle_test", "lib2to3", "_vendor"}
_LEAST_WORDS = 6
_LEAST_PLAIN_WORDS = 0.8  # share of words made of letters alone

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_ROLE = re.compile(r":[a-z:]+:`[~!]?([^`<]*?)(?:\s*<[^`>]*>)?`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]*>`_{0,2}")
_QUOTED = re.compile(r"(`{1,2})([^`]+?)\1_?")
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,2})(\S(?:[^*]*\S)?)\1(?![\w*])")
_FOOTNOTE = re.compile(r"\s*\[(?:\d+|#?\w+)\]_")
_UNDERLINE = re.compile(r"^([-=~^*#])\1{2,}$")
_BULLET = re.compile(r"^(?:[-*+•]|\(?[0-9a-z]{1,2}[.)])\s+")
_CODE = re.compile(r">>>|[{}\\|<>=^~]|\w\(|__|::|\w\.\w+\.\w|https?:|/\w+/|\$|_\w+_|\.\. ")
_PLAIN_WORD = re.compile(r"^[\"'(\[]*[A-Za-z][A-Za-z'\u2019-]*[\"')\].,;:!?]*$")


@dataclass(frozen=True)
class PythonDocument:
    """The prose of one module: paragraphs separated by line ends."""

    id: str
    title: str
    text: str


def read_python_docs(
    splits: Collection[str], *, workers: int, max_bytes: int = _MAX_BYTES
) -> Iterator[PythonDocument]:
    """Yield the documents of these splits in a fixed order, at most `max_bytes` of text in all.

    Only their modules are parsed, which is most of the cost: about 30 CPU seconds for all.
    """
    sources = [
        (module, path) for module, path in _sources() if assigned_split(_id(module)) in splits
    ]
    chunks = [sources[n : n + _FILES_AT_ONCE] for n in range(0, len(sources), _FILES_AT_ONCE)]
    seen: set[bytes] = set()
    left = max_bytes
    for documents in ordered_map(_read_modules, chunks, workers=workers):
        for module, paragraphs in documents:
            fresh = [paragraph for paragraph in paragraphs if _is_first(paragraph, seen)]
            text = "\n".join(fresh)
            left -= len(text.encode())
            if left < 0:
                return
            if len(text) >= _LEAST_CHARACTERS:
                yield PythonDocument(_id(module), module, text)


def _id(module: str) -> str:
    return f"python-docs/{module}"


def assigned_split(document_id: str) -> Split:
    """Where a document belongs, by a hash of its id: the same for every stage and for ever."""
    place = hash_fraction(document_id, "python-docs.split")
    if place < TASKS_FRACTION:
        return "tasks"
    return "validation" if place < TASKS_FRACTION + VALIDATION_FRACTION else "train"


def check_versions(lock_file: Path) -> dict[str, str]:
    """Versions of Python and the packages that are read, for manifests.

    Raises: ArtifactError: an installed package is not the one that the lock file names.
    """
    if not lock_file.is_file():
        raise ArtifactError(f"{lock_file}: not found; python-docs needs the lock file as its input")
    locked = dict(
        line.split("==")
        for line in lock_file.read_text(encoding="utf-8").splitlines()
        if line.count("==") == 1 and not line.startswith("#")
    )
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        versions[package] = version(package).partition("+")[0]
        if locked.get(package) != versions[package]:
            raise ArtifactError(
                f"{lock_file}: {package} is locked at {locked.get(package)}, but "
                f"{versions[package]} is installed; install the locked one (make setup), since the "
                "corpus is read from it"
            )
    return versions


def _sources() -> Iterator[tuple[str, Path]]:
    """(module name, file) of everything that is read, by root, then by name."""
    yield from _modules(Path(sysconfig.get_paths()["stdlib"]), prefix="")
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ArtifactError(f"package {package} is not installed; install the extra 'all'")
        yield from _modules(Path(spec.submodule_search_locations[0]), prefix=f"{package}.")


def _modules(root: Path, *, prefix: str) -> list[tuple[str, Path]]:
    found = []
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        if not _LEFT_OUT_FOLDERS.intersection(parts) and not parts[0].startswith("config-"):
            found.append((prefix + ".".join(parts), path))
    return sorted(found)


def _read_modules(modules: list[tuple[str, Path]]) -> list[tuple[str, list[str]]]:
    return [(module, _prose_of(path)) for module, path in modules]


def _prose_of(path: Path) -> list[str]:
    """The paragraphs of prose in a source file; none where it cannot be parsed."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return []
    paragraphs: list[str] = []
    for node in _documented(tree):
        docstring = ast.get_docstring(node, clean=True)
        if docstring:
            paragraphs.extend(prose(docstring))
    return paragraphs


def _documented(node: ast.AST) -> Iterator[_Documented]:
    """Everything that can have a docstring, in the order of the source; expressions are skipped."""
    if isinstance(node, _Documented):
        yield node
    for block in ("body", "orelse", "handlers", "finalbody"):
        for statement in getattr(node, block, None) or ():
            if isinstance(statement, ast.AST):
                yield from _documented(statement)


def prose(docstring: str) -> list[str]:
    """The paragraphs of a cleaned docstring that read as English prose, markup taken off."""
    kept = []
    for paragraph in _paragraphs(inspect.cleandoc(docstring)):
        text = _without_markup(paragraph)
        if _is_prose(text):
            kept.append(text)
    return kept


def _paragraphs(docstring: str) -> Iterator[str]:
    """Yield runs of lines of one indentation; a deeper run behind `::` is code, and left out."""
    lines: list[str] = []
    indent, literal_indent = 0, -1
    for line in [*docstring.expandtabs().splitlines(), ""]:
        stripped = line.strip()
        here = len(line) - len(line.lstrip())
        bullet = _BULLET.match(stripped)
        if _UNDERLINE.match(stripped):  # the line above is a heading
            lines = []
            continue
        if lines and (not stripped or here != indent or bullet):
            yield " ".join(lines)
            if lines[-1].endswith("::") or lines[0].startswith(".. "):
                literal_indent = indent
            lines = []
        if not stripped:
            continue
        if literal_indent >= 0 and here > literal_indent:
            continue
        literal_indent = -1
        if not lines:
            indent = here + (bullet.end() if bullet else 0)
        lines.append(stripped[bullet.end() :] if bullet else stripped)


def _without_markup(text: str) -> str:
    text = _FOOTNOTE.sub("", text)
    text = _ROLE.sub(r"\1", text)
    text = _LINK.sub(r"\1", text)
    text = _QUOTED.sub(r"\2", text)
    text = _EMPHASIS.sub(r"\2", text)
    return re.sub(r"\s+", " ", text).strip()


def _is_prose(text: str) -> bool:
    """Whole sentences of mostly plain words, and nothing that looks like code."""
    if not text[:1].isupper() or text[-1:] not in ".!?" or _CODE.search(text):
        return False
    words = text.split()
    plain = sum(1 for word in words if _PLAIN_WORD.match(word))
    return len(words) >= _LEAST_WORDS and plain >= _LEAST_PLAIN_WORDS * len(words)


def _is_first(paragraph: str, seen: set[bytes]) -> bool:
    digest = hashlib.blake2b(paragraph.casefold().encode(), digest_size=8).digest()
    if digest in seen:
        return False
    seen.add(digest)
    return True
