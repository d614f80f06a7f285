"""DVC's remote on S3, as a team has it: what one clone pushed another one pulls, byte for byte."""

import hashlib
import os
import subprocess
from pathlib import Path

import boto3
import pytest

from pipelines.environment import child_environment

pytestmark = pytest.mark.services
BUCKET = "cloze-dvc"
FILES = {"artifacts/a/weights.bin": bytes(range(256)) * 200, "artifacts/a/deep/words": b"x\n"}


@pytest.fixture
def run(s3_url, tmp_path, monkeypatch):
    """Runs a command in a clone; where S3 is, and its keys, the environment alone knows."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"):
        monkeypatch.setenv(name, "t")
    for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(name, "t@t")

    def execute(folder: Path, *command: str) -> None:
        result = subprocess.run(
            command,
            cwd=folder,
            env=child_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{command}: {result.stderr}{result.stdout}"

    return execute


def hashes(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}


def test_a_second_clone_pulls_the_bytes_that_the_first_pushed(run, s3_url, tmp_path):
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    first, second = tmp_path / "first", tmp_path / "second"
    for name, content in FILES.items():
        (first / name).parent.mkdir(parents=True, exist_ok=True)
        (first / name).write_bytes(content)
    run(first, "git", "init", "-q", "-b", "main")
    run(first, "dvc", "init", "-q")
    run(first, "dvc", "remote", "add", "-q", "-d", "team", f"s3://{BUCKET}/dvc")
    run(first, "dvc", "add", "-q", "artifacts/a")
    run(first, "dvc", "push", "-q")
    run(first, "git", "add", ".")
    run(first, "git", "commit", "-qm", "first")
    run(tmp_path, "git", "clone", "-q", str(first), str(second))
    assert not (second / "artifacts" / "a").exists()
    run(second, "dvc", "pull", "-q")
    assert hashes(second) == hashes(first)
    committed = (second / ".dvc" / "config").read_text()
    assert s3_url not in committed
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in committed
    objects = client.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert len(objects) == len(FILES) + 1  # and the folder's own list
