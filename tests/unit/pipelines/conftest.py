"""A small DVC project of shell stages, made once a session and copied for each test."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.environment import child_environment

DVC_YAML = """\
stages:
  first:
    cmd: echo line of first && mkdir -p out && echo ${first.text} > out/first
    params: [first]
    outs: [out/first]
  each:
    foreach: ${each}
    do:
      cmd: cat out/first > out/each-${key} && echo ${item.text} >> out/each-${key}
      deps: [out/first]
      params: ["each.${key}"]
      outs: ["out/each-${key}"]
  last:
    cmd: cat out/each-a out/each-b > out/last
    deps: [out/each-a, out/each-b]
    outs: [out/last]
"""
ROOT = Path(__file__).resolve().parents[3]
PARAMS_YAML = "first: {text: hello}\neach: {a: {text: one}, b: {text: two}}\n"


def _run(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, env=child_environment(), check=True, capture_output=True)


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "project"
    folder.mkdir()
    _run(folder, "git", "init", "-q")
    _run(folder, "dvc", "init", "-q")
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "params.yaml").write_text(PARAMS_YAML)
    (folder / ".gitignore").write_text("/out\n")
    _run(folder, "git", "add", ".")
    _run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "first")
    return folder


@pytest.fixture
def project(_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh copy of the project, with a state root of its own."""
    monkeypatch.setenv("CLOZE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("CLOZE_TRACKING", "off")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    shutil.copytree(_template, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The settings and the recipes of the project."""
    for name in ("params.yaml", "dvc.yaml", "requirements.lock"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    return tmp_path
