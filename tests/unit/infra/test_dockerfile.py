"""The Dockerfile: hadolint's rules, and those that hadolint does not know."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.services.daemons import require

INFRA = Path(__file__).resolve().parents[3] / "infra"
DOCKERFILE = INFRA / "Dockerfile"
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|AUTH_STRING")


@pytest.fixture(scope="module")
def instructions():
    """(instruction, arguments) of each line, continued lines joined, comments left out."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def lint(path):
    require("hadolint")
    program = shutil.which("hadolint")
    return subprocess.run([program, str(path)], capture_output=True, text=True, check=False)


def test_hadolint_has_nothing_to_say():
    result = lint(DOCKERFILE)
    assert (result.returncode, result.stdout) == (0, "")


def test_hadolint_does_refuse_a_bad_file(tmp_path):
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python:latest\nRUN apt-get update && apt-get install git\n")
    result = lint(bad)
    assert result.returncode == 1
    assert "DL3007" in result.stdout  # latest


def test_every_base_has_a_version(instructions):
    stages, bases = set(), []
    for name, text in instructions:
        if name == "FROM":
            base, _, stage = text.partition(" AS ")
            bases += [] if base in stages else [base]
            stages.add(stage)
    assert bases
    for base in bases:
        assert re.fullmatch(r"[a-z]+(/[a-z]+)?:v?\d+\.\d+\.\d+[\w.-]*", base), base


def test_the_image_runs_as_nobody_special_below_an_init(instructions):
    users = [text for name, text in instructions if name == "USER"]
    assert users == ["10001:10001"]
    entry = [text for name, text in instructions if name == "ENTRYPOINT"]
    assert entry == ['["/usr/bin/tini", "--"]']
    last = max(i for i, (name, _) in enumerate(instructions) if name == "USER")
    assert all(name not in ("RUN", "COPY", "ADD") for name, _ in instructions[last:])


def test_what_apt_leaves_behind_is_removed_in_its_own_layer(instructions):
    installing = [text for name, text in instructions if name == "RUN" and "apt-get" in text]
    assert len(installing) == 1
    assert "--no-install-recommends" in installing[0]
    assert "rm -rf /var/lib/apt/lists/*" in installing[0]


def test_packages_are_those_of_the_lock_file(instructions):
    pip = [text for name, text in instructions if name == "RUN" and "pip install" in text]
    assert pip
    assert all("-c requirements.lock" in text for text in pip)


def test_no_secret_is_built_in(instructions):
    for name, text in instructions:
        if name in ("ARG", "ENV"):
            assert not SECRET.search(text), text


def test_only_code_and_settings_enter_the_build():
    lines = (INFRA / "Dockerfile.dockerignore").read_text().split("\n")
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:].split("/")[0] for rule in rules if rule.startswith("!")}
    copied = "pyproject.toml requirements.lock params.yaml dvc.yaml recipes stages pipelines infra"
    assert allowed == set(copied.split())
    assert "**/.env" in rules
