"""How ranks are started again, and how one tells the launcher that this would be in vain."""

import sys

import pytest

from stages.core.errors import ArtifactError, SettingsError
from stages.pretraining import endings
from stages.pretraining.endings import noting
from stages.pretraining.launchers import local
from stages.pretraining.launchers.torchrun import Shape

# Fails every time; the first two times behind a new checkpoint.
FAILING = """
import pathlib, sys
folder = pathlib.Path(sys.argv[-1])
count = len(list(folder.glob("start-*")))
(folder / f"start-{count}").touch()
if count < 2:
    (folder / f"step-0000000{count}").mkdir()
sys.exit(1)
"""
# A rank that ends on purpose notes it and ends with 0.
NOTING = """
import os, pathlib
(pathlib.Path(os.environ["CLOZE_ENDINGS"]) / "x.ending").write_text("1 3")
"""


@pytest.fixture
def launched(monkeypatch, tmp_path):
    """The exit code of two ranks that are this script."""

    def run(script):
        monkeypatch.setattr(
            local, "rank_command", lambda words, _: [sys.executable, "-c", script, *words]
        )
        return local.run_ranks([str(tmp_path)], Shape(1, 2), threads=1, checkpoints=tmp_path)

    return run


def test_ranks_are_started_again_as_long_as_checkpoints_come(launched, tmp_path):
    assert launched(FAILING) == 1
    assert len(list(tmp_path.glob("start-*"))) == 3


def test_the_exit_code_is_the_one_that_a_rank_noted(launched, tmp_path):
    assert launched(NOTING) == 3


def end(monkeypatch, rank, error):
    monkeypatch.setenv("RANK", str(rank))
    with pytest.raises(type(error)), noting():
        raise error


def test_the_same_error_of_all_ranks_is_logged_once_and_the_first_ranks_code_counts(
    monkeypatch, tmp_path, caplog
):
    monkeypatch.setenv(endings.FOLDER, str(tmp_path))
    assert not endings.is_noted()
    for rank in (2, 1):
        end(monkeypatch, rank, SettingsError("no such size"))
    assert endings.is_noted()
    assert endings.exit_code(tmp_path) == 2
    end(monkeypatch, 0, ArtifactError("a shard is damaged"))
    assert endings.exit_code(tmp_path) == 3
    assert [record.message for record in caplog.records] == ["no such size", "a shard is damaged"]


def test_a_single_rank_notes_nothing(monkeypatch, tmp_path, caplog):
    monkeypatch.delenv(endings.FOLDER, raising=False)
    end(monkeypatch, 0, SettingsError("no such size"))
    assert not endings.is_noted()
    assert caplog.messages == ["no such size"]
