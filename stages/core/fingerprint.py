"""Import closures and code fingerprints, computed from syntax trees without importing anything.

The closure of a module is every file inside the repository that importing it can load, imports
inside functions counted too. DVC's `deps` must cover it (a test compares), and checkpoints are
keyed by the closure's syntax trees less comments and docstrings.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("stages", "pipelines")
# Modules that cannot change what a stage writes; DVC's deps and fingerprints leave them out.
NEUTRAL_MODULES = frozenset(
    {
        "stages.core.cli",
        "stages.core.errors",
        "stages.core.execution",
        "stages.core.fingerprint",  # names checkpoints and caches, never their content
        "stages.core.logs",
        "stages.core.progress",
        "stages.core.secrets",
        "stages.core.settings",  # only reads the parameters, which are dependencies themselves
        "stages.core.state",
        "stages.core.tracking",
        "stages.core.tracking.delivery",
        "stages.core.tracking.journal",
        "stages.core.tracking.ledger",
        "stages.core.tracking.lineage",
        "stages.core.tracking.shipper",
        "stages.core.tracking.store",
    }
)


def module_path(module: str, repository: Path = REPOSITORY) -> Path | None:
    """The file of a module of this repository; None for anything else."""
    if module.partition(".")[0] not in PACKAGES:
        return None
    stem = repository.joinpath(*module.split("."))
    for candidate in (stem.with_suffix(".py"), stem / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def import_closure(*modules: str) -> frozenset[str]:
    """Names of all modules of this repository that importing `modules` can load."""
    found: set[str] = set()
    pending = list(modules)
    while pending:
        module = pending.pop()
        path = module_path(module)
        if module in found or path is None:
            continue
        found.add(module)
        pending.extend(_imports(path, module))
    return frozenset(found)


def _imports(path: Path, module: str) -> Iterable[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def code_fingerprint(*modules: str) -> str:
    """Hash of the syntax trees of the closure of `modules`, neutral modules left out."""
    digest = hashlib.sha256()
    for module in sorted(import_closure(*modules) - NEUTRAL_MODULES):
        path = module_path(module)
        assert path is not None
        digest.update(f"{module}\n{_bare_tree(path.read_text(encoding='utf-8'))}\n".encode())
    return digest.hexdigest()


@cache
def _bare_tree(source: str) -> str:
    """The syntax tree of a source less comments and docstrings, as text."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                del body[0]
    return ast.dump(tree)


def fingerprint(facts: Mapping[str, Any]) -> str:
    """A short hash of JSON-able facts: the key of a checkpoint folder or cache entry."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
