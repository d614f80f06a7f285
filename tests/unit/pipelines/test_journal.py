"""The pipeline's run in the journal, and what a run measured that made an output."""

import json
import subprocess

import pytest

from pipelines.journal import metric_of_maker, pipeline_journal
from pipelines.settings import load_settings
from stages.core.state import journal_root


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("CLOZE_STATE", str(tmp_path))


def write(key, *events):
    path = journal_root() / f"{key}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(event) + "\n" for event in events) + '{"torn')


def test_the_last_value_of_the_run_that_made_an_output_is_found():
    end = {"event": "end", "status": "FINISHED", "tags": {"output.out": "abc"}}
    write("pretraining-1", {"event": "metrics", "step": 1, "values": {"minutes": 9.0}}, end)
    write(
        "pretraining-2",
        {"event": "metrics", "step": 1, "values": {"minutes": 2.0}},
        {"event": "end", "status": "KILLED", "tags": {}},
        {"event": "metrics", "step": 2, "values": {"minutes": 5.0, "loss": 1.0}},
        {"event": "end", "status": "FINISHED", "tags": {"output.out": "def"}},
    )
    assert metric_of_maker("pretraining", "def", "minutes") == 5.0
    assert metric_of_maker("pretraining", "abc", "minutes") == 9.0
    assert metric_of_maker("pretraining", "abc", "energy") is None
    assert metric_of_maker("corpus", "abc", "minutes") is None


def test_the_pipelines_run_names_the_commit_of_its_workspace(workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv("CLOZE_TRACKING", "off")

    def git(*arguments):
        author = ("-c", "user.name=t", "-c", "user.email=t@t")
        return subprocess.check_output(["git", *author, *arguments], cwd=workspace, text=True)

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    with pipeline_journal(load_settings(workspace), flow_run_id="1", workspace=workspace):
        pass
    monkeypatch.delenv("GIT_DIR")
    start = json.loads((journal_root() / "flow-1.jsonl").read_text().splitlines()[0])
    assert start["tags"]["git.commit"] == git("rev-parse", "HEAD").strip()
