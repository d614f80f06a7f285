from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.artifacts import write_manifest
from stages.core.settings import parse_section
from stages.core.tracking.journal import RunJournal
from stages.tokenizer.params import TokenizerParams

WriteCorpus = Callable[..., Path]
SETTINGS = {
    "start": "scratch",
    "kind": "wordpiece",
    "vocab_size": 200,
    "pad_to_multiple_of": 64,
    "lowercase": True,
    "sample_bytes": 1_000_000,
}
SUBJECTS = ("the lighthouse keeper", "a travelling musician", "an old fisherman", "the astronomer")
VERBS = ("remembered", "was painting", "had forgotten", "photographed", "understood")
OBJECTS = ("the harbour", "seventeen letters", "an unfinished melody", "the northern stars")


def make_texts(count: int) -> list[str]:
    """Distinct small documents with words that share pieces."""
    return [
        f"{SUBJECTS[n % 4].capitalize()} {VERBS[n % 5]} {OBJECTS[n % 4]}.\nIn {1800 + n} it rained."
        for n in range(count)
    ]


@pytest.fixture
def write_corpus(tmp_path: Path) -> WriteCorpus:
    def write(train: Sequence[str], validation: Sequence[str], name: str = "corpus") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for split, texts in (("train", train), ("validation", validation)):
            ids = [f"{split}-{index}" for index in range(len(texts))]
            table = pa.table({"id": ids, "title": ids, "text": list(texts)})
            pq.write_table(table, folder / f"{split}-00000.parquet")
        counts = {"train": len(train), "validation": len(validation)}
        write_manifest(folder, "corpus", {"language": "en", "documents": counts})
        return folder

    return write


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunJournal:
    monkeypatch.setenv("CLOZE_STATE", str(tmp_path / "state"))
    return RunJournal("tokenizer-test")


@pytest.fixture
def make_params() -> Callable[..., TokenizerParams]:
    def make(**changes: object) -> TokenizerParams:
        return parse_section(TokenizerParams, {**SETTINGS, **changes}, where="tokenizer")

    return make


@pytest.fixture
def texts() -> list[str]:
    return make_texts(200)
