"""Checks of the machine: Python, packages, programs, GPUs, disks."""

import configparser
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from pipelines.doctor.finding import Finding, ok, problem, warning
from stages.core.state import state_root

LOCK = "requirements.lock"
_INSTALL = f"pip install -c {LOCK} '.[all]'"
_NAMED = 4
_CHILD_SECONDS = 30.0
_GIB = 1 << 30
_LEAST_BYTES, _FEW_BYTES = _GIB, 10 * _GIB  # a run of the default takes 1 GiB
_COUNT_DEVICES = "import torch; print(torch.cuda.device_count())"


def python(root: Path) -> Iterator[Finding]:
    """The interpreter is one that the project supports."""
    wanted, found = _project(root)["requires-python"], platform.python_version()
    if found in SpecifierSet(wanted):
        yield ok(f"{found}, {sys.executable}")
    else:
        yield problem(f"{found}, expected {wanted}", "make setup PYTHON=python3.11")


def packages(root: Path) -> Iterator[Finding]:
    """Nothing needed is missing, and versions are those that were tested together."""
    installed = {_key(one.metadata["Name"]): one.version for one in distributions()}
    extras = _project(root)["optional-dependencies"]
    needed = {Requirement(text).name for text in extras["all"] + extras["node"]} - {"cloze"}
    missing = sorted(name for name in needed if _key(name) not in installed)
    if missing:
        yield problem(f"not installed: {_some(missing)}", _INSTALL)
    locked = _locked(root / LOCK)
    both = locked.keys() & installed.keys()
    other = [
        f"{name} {installed[name]} (tested: {locked[name]})"
        for name in sorted(both)
        if installed[name].partition("+")[0] != locked[name].partition("+")[0]
    ]
    if other:
        yield warning(f"{len(other)} differ from {LOCK}: {_some(other)}", _INSTALL)
    if not missing and not other:
        yield ok(f"{len(both)} as in {LOCK}")


def programs(_root: Path) -> Iterator[Finding]:
    """The programs that every run starts are there."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    for name, advice in (("git", "install git"), ("dvc", _INSTALL)):
        if shutil.which(name, path=path) is None:
            yield problem(f"{name} is not on PATH", advice)
            return
    yield ok(_output(["git", "--version"]).strip() + ", dvc")


def gpus(_root: Path) -> Iterator[Finding]:
    """The GPUs that the driver shows are those that torch can use."""
    query = "--query-gpu=name,memory.total,memory.used,driver_version"
    listed = _output(["nvidia-smi", query, "--format=csv,noheader"]).strip().splitlines()
    if not listed:
        yield ok("none: nvidia-smi shows no GPU, training runs on the CPU")
        return
    told = _output([sys.executable, "-c", _COUNT_DEVICES]).strip()
    usable = int(told) if told.isdecimal() else 0
    shown = "; ".join(listed)
    if usable == len(listed):
        yield ok(f"{usable} usable: {shown}")
    else:
        yield problem(
            f"torch sees {usable} of {len(listed)}: {shown}",
            "install torch with CUDA for this driver (docs/servers.md, Images), and look at "
            "CUDA_VISIBLE_DEVICES",
        )


def disk(root: Path) -> Iterator[Finding]:
    """There is room for checkpoints and for DVC's cache."""
    for name, folder, elsewhere in (
        ("state root", state_root(), "set CLOZE_STATE"),
        ("DVC cache", _cache_folder(root), "name another folder: dvc cache dir --local PATH"),
    ):
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(existing).free
        found = f"{free / _GIB:.1f} GiB free for the {name} ({folder})"
        advice = f"make room: dvc gc --workspace, old runs and checkpoints; or {elsewhere}"
        if free < _LEAST_BYTES:
            yield problem(found, advice)
        elif free < _FEW_BYTES:
            yield warning(found, advice)
        else:
            yield ok(found)


def _project(root: Path) -> dict[str, Any]:
    with (root / "pyproject.toml").open("rb") as stream:
        project: dict[str, Any] = tomllib.load(stream)["project"]
    return project


def _locked(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {_key(name): version.strip() for name, version in pairs}


def _key(name: str) -> str:
    """A distribution's name as all its spellings have it."""
    return str(canonicalize_name(name.strip()))


def _cache_folder(root: Path) -> Path:
    """DVC's cache, read from its files: its command takes a second."""
    folder = root / ".dvc"
    config = configparser.ConfigParser(interpolation=None)
    config.read([folder / "config", folder / "config.local"], encoding="utf-8")
    named = config.get("cache", "dir", fallback="cache")
    return Path(os.path.normpath(folder / named))


def _output(command: list[str]) -> str:
    """What a program writes; empty where it is missing, fails or takes too long."""
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_CHILD_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout if result.returncode == 0 else ""


def _some(names: list[str]) -> str:
    more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
