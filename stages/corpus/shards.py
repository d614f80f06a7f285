"""Cleaned documents: packed into bytes to be set aside, then written as Parquet shards.

A shard is closed once it holds `shard_size_bytes` of text; row groups are cut by size too, so that
a reader's memory is bounded. Bytes depend on the documents alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_SCHEMA = pa.schema([("id", pa.string()), ("title", pa.string()), ("text", pa.string())])
_PACKED_SCHEMA = _SCHEMA.append(pa.field("is_validation", pa.bool_()))
_ROW_GROUP_BYTES = 4_000_000
_COMPRESSION_LEVEL = 3


@dataclass(frozen=True)
class CleanDocument:
    """A document after cleaning; its text's lines are paragraphs."""

    id: str
    title: str
    text: str
    is_validation: bool


def pack(documents: Iterable[CleanDocument]) -> bytes:
    """A batch of documents, compressed, to be set aside."""
    rows = [vars(document) for document in documents]
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, _PACKED_SCHEMA, options=options) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=_PACKED_SCHEMA))
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def unpack(packed: bytes) -> Iterator[CleanDocument]:
    """The documents of a batch, in order."""
    for row in pa.ipc.open_file(packed).read_all().to_pylist():
        yield CleanDocument(**row)


class ShardWriter:
    """Writes `<split>-NNNNN.parquet` in a folder; a context manager that closes the last shard."""

    def __init__(self, folder: Path, split: str, shard_size_bytes: int) -> None:
        self._folder, self._split = folder, split
        self._shard_size_bytes = shard_size_bytes
        self._rows: list[dict[str, str]] = []
        self._row_bytes = self._shard_bytes = self._num_shards = 0
        self._writer: Any = None
        self.documents = 0
        self.bytes = 0

    def write(self, document: CleanDocument) -> None:
        """Append one document."""
        self._rows.append({"id": document.id, "title": document.title, "text": document.text})
        size = len(document.text.encode())
        self.documents += 1
        self.bytes += size
        self._row_bytes += size
        self._shard_bytes += size
        is_full = self._shard_bytes >= self._shard_size_bytes
        if is_full or self._row_bytes >= _ROW_GROUP_BYTES:
            self._write_rows()
        if is_full:
            self._close_shard()

    def _write_rows(self) -> None:
        if self._writer is None:
            path = self._folder / f"{self._split}-{self._num_shards:05d}.parquet"
            self._writer = pq.ParquetWriter(
                path, _SCHEMA, compression="zstd", compression_level=_COMPRESSION_LEVEL
            )
            self._num_shards += 1
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=_SCHEMA))
        self._rows, self._row_bytes = [], 0

    def _close_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._shard_bytes = None, 0

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and self._rows:
            self._write_rows()
        self._close_shard()
