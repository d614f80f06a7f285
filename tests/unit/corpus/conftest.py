"""Fixtures of the corpus tests: an empty tasks artefact, and the stage run in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.core.tracking.journal import RunJournal
from stages.corpus.params import CorpusParams
from stages.corpus.run import run
from tests.unit.corpus.builders import rows, write_task


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests start no processes unless they ask for them."""
    monkeypatch.setenv("CLOZE_WORKERS", "1")


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A tasks artefact with one empty dev split; `write_task` gives it sentences."""
    folder = tmp_path / "tasks"
    write_task(folder, {"dev": []})
    return folder


@pytest.fixture
def make_corpus(
    tmp_path: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Run the stage in this process; returns its manifest, with documents by split added."""

    def make(params: CorpusParams, *, workers: int = 1, out: str = "corpus") -> dict[str, Any]:
        monkeypatch.setenv("CLOZE_WORKERS", str(workers))
        folder = tmp_path / out
        run(params, {"tasks": tasks, "out": folder}, RunJournal("test"))
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["rows"] = {split: rows(folder, split) for split in ("train", "validation")}
        return manifest

    return make
