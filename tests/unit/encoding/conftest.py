import string
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.artifacts import write_manifest
from stages.core.tracking.journal import RunJournal
from stages.tokenizer.files import save_tokenizer
from stages.tokenizer.wordpiece import SPECIAL_TOKENS, build_tokenizer

LETTERS = string.ascii_lowercase + string.digits
ENTRIES = [
    *SPECIAL_TOKENS.values(),
    *string.punctuation,
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    *("the", "harbour", "##ing", "keep", "##er"),
    "[unused0]",
]


@pytest.fixture
def write_corpus(tmp_path: Path) -> Callable[..., Path]:
    def write(train: Sequence[str], validation: Sequence[str] = ("A text.", "Another.")) -> Path:
        folder = tmp_path / "corpus"
        folder.mkdir(exist_ok=True)
        for split, texts in (("train", train), ("validation", validation)):
            ids = [f"{split}-{index}" for index in range(len(texts))]
            columns = {name: pa.array(ids, pa.string()) for name in ("id", "title")}
            table = pa.table({**columns, "text": pa.array(texts, pa.string())})
            pq.write_table(table, folder / f"{split}-00000.parquet")
        counts = {"train": len(train), "validation": len(validation)}
        write_manifest(folder, "corpus", {"language": "en", "documents": counts})
        return folder

    return write


@pytest.fixture
def tokenizer_folder(tmp_path: Path) -> Path:
    return write_tokenizer(tmp_path / "tokenizer", ENTRIES)


def write_tokenizer(folder: Path, entries: Sequence[str]) -> Path:
    """A tokenizer artefact with the given entries, uncased."""
    folder.mkdir()
    save_tokenizer(
        folder,
        build_tokenizer(entries, lowercase=True),
        kind="wordpiece",
        special_tokens=SPECIAL_TOKENS,
        model_max_length=512,
    )
    ids = {role: entries.index(token) for role, token in SPECIAL_TOKENS.items()}
    facts = {
        "kind": "wordpiece",
        "vocab_size": len(entries),
        "special_tokens": SPECIAL_TOKENS,
        "special_token_ids": ids,
    }
    write_manifest(folder, "tokenizer", facts)
    return folder


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunJournal:
    monkeypatch.setenv("CLOZE_STATE", str(tmp_path / "state"))
    return RunJournal("encoding-test")
