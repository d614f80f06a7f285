"""The extra `node` is enough for a bare GPU node: no MLflow, DVC, Prefect or pandas is imported.

Every distribution that the extra does not bring, directly or through others, is hidden from the
import system of a fresh process; the stages of a node must import there all the same.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    "stages.encoding.run",
    "stages.masking.run",
    "stages.pretraining.run",
    "stages.pretraining.worker",
    "stages.pretraining.objectives.bert",
    "stages.finetuning.run",
    "stages.core.tracking.journal",
)
# Runs where `hidden` is a set of top-level packages.
HOOK = """
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        is_hidden = name.partition('.')[0] in hidden
        return None if is_hidden else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""
HIDING = f"""
import json, sys
hidden = set(json.loads(sys.argv[1]))
{HOOK}
for module in sys.argv[2:]:
    __import__(module)
"""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(names: set[str]) -> set[str]:
    """The distributions that installing `names` brings, their optional extras left out."""
    found: set[str] = set()
    pending = {normal(name) for name in names}
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needs = requires(name) or []
        except PackageNotFoundError:
            continue
        plain = [need for need in needs if "extra ==" not in need]
        pending |= {normal(re.match(r"[\w.-]+", need).group()) for need in plain}
    return found


def hidden_packages() -> list[str]:
    """Top-level packages of what is installed and not brought by the extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["node"]
    brought = closure({re.match(r"[\w.-]+", need).group() for need in extra})
    return sorted(
        package
        for package, distributions in packages_distributions().items()
        if not brought & {normal(name) for name in distributions}
    )


@pytest.mark.slow
def test_the_stages_of_a_gpu_node_import_with_the_extra_node_alone():
    hidden = hidden_packages()
    assert {"mlflow", "dvc", "prefect", "datasets", "pandas"} <= set(hidden)
    assert not {"torch", "transformers", "tokenizers", "numpy"} & set(hidden)
    result = subprocess.run(
        [sys.executable, "-c", HIDING, json.dumps(hidden), *MODULES],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize("package", ["mlflow", "prefect"])
def test_hiding_a_package_hides_it(package):
    """The check above can fail."""
    result = subprocess.run(
        [sys.executable, "-c", HIDING, json.dumps([package]), package],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"No module named '{package}'" in result.stderr
