"""Blocks: every document once, in corpus order, whatever the files, their row groups and sizes."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import ArtifactError
from stages.encoding import blocks
from stages.encoding.blocks import BlockReader, document_blocks

TEXTS = [f"{number} {'x' * (number * 37 % 400)}" for number in range(50)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two files, 30 documents in row groups of 12, and 20 in one."""
    for number, (texts, rows) in enumerate([(TEXTS[:30], 12), (TEXTS[30:], 100)]):
        columns = {name: pa.array(texts, pa.string()) for name in ("id", "title", "text")}
        path = tmp_path / f"train-{number:05d}.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=rows)
    return tmp_path


@pytest.mark.parametrize("block_bytes", [1, 700, 10**9])
def test_blocks_hold_every_document_once_in_order(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", block_bytes)
    plan = list(document_blocks(corpus, "train"))
    reader = BlockReader()
    assert [text for _, block in plan for text in reader.texts(block)] == TEXTS
    assert len({name for name, _ in plan}) == len(plan)


def test_a_block_never_crosses_a_row_group_and_is_about_as_large_as_asked(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [block.last for _, block in document_blocks(corpus, "train")] == [12, 12, 6, 20]
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 1000)
    sizes = [
        sum(map(len, BlockReader().texts(block))) for _, block in document_blocks(corpus, "train")
    ]
    assert len(sizes) > 6
    assert max(sizes) < 2000


def test_a_row_group_is_read_once_for_blocks_in_a_row(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 500)
    plan = list(document_blocks(corpus, "train"))
    opened: list[Path] = []
    open_file = blocks.opened_file
    monkeypatch.setattr(blocks, "opened_file", lambda path: opened.append(path) or open_file(path))
    reader = BlockReader()
    for _, block in plan:
        reader.texts(block)
    assert len(plan) > 4 == len(opened)


@pytest.mark.parametrize("cut", [100, -8])
def test_a_damaged_file_is_named(corpus: Path, cut: int) -> None:
    path = corpus / "train-00001.parquet"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ArtifactError, match=r"train-00001.parquet: not readable .*; run corpus"):
        list(document_blocks(corpus, "train"))


def test_a_file_without_text_is_named(write_corpus: Callable[..., Path]) -> None:
    folder = write_corpus(["one"])
    table = pq.read_table(folder / "train-00000.parquet").drop_columns(["text"])
    pq.write_table(table, folder / "train-00000.parquet")
    with pytest.raises(ArtifactError, match=r"train-00000.parquet: not readable .*'text'"):
        list(document_blocks(folder, "train"))
