"""What the README tells a reader to type works as it stands there, on the micro project."""

import re
import shlex
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
# Run by other tests, or by make, which sets up a virtual environment first.
ELSEWHERE = (
    "make",
    ".",
    "pip",
    *(f"python -m pipelines {name}" for name in ("compare", "train", "adopt", "plan")),
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    bare = [line.partition("#")[0].strip() for line in lines]
    return [line for line in bare if line and not line.startswith(ELSEWHERE)]


def test_the_readme_has_commands_and_code():
    assert len(commands()) >= 2
    assert blocks("python")


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_works(project, command):
    result = project.run(*shlex.split(command))
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]


@pytest.mark.parametrize("code", blocks("python"))
def test_the_code_of_the_readme_works(project, code):
    result = project.run("python", "-c", code, HF_HUB_OFFLINE="1")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
