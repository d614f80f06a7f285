"""Source `files`: txt, jsonl and parquet below one root, plain or compressed, local or fsspec.

In: the root of `corpus.input` and its patterns. Out: documents in the order of the sorted relative
paths, ids free of the place where the files lie. One process reads; what costs time comes after.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from stages.core.errors import ArtifactError
from stages.corpus.documents import RawDocument, Row, SourceFacts, hash_split_document
from stages.corpus.params import CorpusParams, FilesParams, HubDataset
from stages.corpus.text_files import ByteStream, Utf8Text, documents_of_lines

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_FORMATS = {
    ".txt": "txt",
    ".text": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
_PARQUET_BATCH_ROWS = 64
_AS_BYTES = {"string": "binary", "large_string": "large_binary"}


def read_files(params: CorpusParams, facts: SourceFacts) -> Iterator[RawDocument]:
    """Yield the documents of every file, in order.

    Raises: ArtifactError: nothing matches, or a file is missing, empty, binary, damaged, lacks a
        column, or holds too much invalid UTF-8.
    """
    files = params.files
    assert files is not None, "the settings ask for the block of their source"
    filesystem, root, names = find_files(params.input, files)
    for name in names:
        file_format = format_of(name, files)
        text = Utf8Text(name)
        where = f"{root}/{name}" if root else name
        with _opened(filesystem, where, name) as stream:
            rows = _READERS[file_format](stream, text, files)
            for row in rows:
                yield hash_split_document(
                    row,
                    validation_fraction=files.validation_fraction,
                    is_hard_wrapped=files.unwrap_lines,
                )
        text.refuse_past(params.cleaning.max_invalid_utf8_fraction)
        facts.replaced_bytes += text.replaced_bytes


def find_files(source: str, files: FilesParams) -> tuple[Any, str, list[str]]:
    """The filesystem, the root folder in it, and the sorted relative paths of the files.

    Linked files are read; a linked folder below the root is not entered, as by DVC.
    Raises: ArtifactError: the root is missing, or no file matches.
    """
    filesystem, root = url_to_fs(source)
    root = root.rstrip("/")
    if filesystem.isfile(root):
        parent, _, name = root.rpartition("/")
        return filesystem, parent, [name]
    if not filesystem.isdir(root):
        raise ArtifactError(
            f"{source}: no such file or folder; set corpus.input in params.yaml to your corpus"
        )
    found = {
        path.removeprefix(root).lstrip("/")
        for pattern in files.patterns
        for path, info in filesystem.glob(f"{root}/{pattern}", detail=True).items()
        if info["type"] == "file" or (info.get("islink") and not filesystem.isdir(path))
    }
    if not found:
        raise ArtifactError(
            f"{source}: no file matches corpus.files.patterns {list(files.patterns)}; "
            "expected globs below this folder, such as '**/*.txt'"
        )
    return filesystem, root, sorted(found)


def format_of(name: str, files: FilesParams) -> str:
    """The format of a file, from the settings or its suffix.

    Raises: ArtifactError: the suffix says nothing, or a txt file has no document boundary set.
    """
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    if suffixes and suffixes[-1] in _COMPRESSIONS:
        suffixes.pop()
    found = files.format or _FORMATS.get(suffixes[-1] if suffixes else "")
    if found is None:
        raise ArtifactError(
            f"{name}: its suffix names no known format (expected one of {sorted(_FORMATS)}, "
            "alone or before .gz or .zst); set corpus.files.format"
        )
    if found == "txt" and files.document_boundary is None:
        raise ArtifactError(
            f"{name}: where does a document of a txt file end? "
            "Set corpus.files.document_boundary to 'blank-line' or 'file'"
        )
    return found


@contextmanager
def _opened(filesystem: Any, path: str, name: str) -> Iterator[ByteStream]:
    """Open a file, decompressed; what fails while it is read is named after it."""
    compression = _COMPRESSIONS.get(PurePosixPath(name).suffix.lower())
    try:
        with filesystem.open(path, "rb") as stream:
            if compression:
                with pa.CompressedInputStream(stream, compression) as plain:
                    yield plain
            else:
                yield stream
    except (OSError, EOFError, pa.ArrowException) as error:
        raise ArtifactError(
            f"{name}: cannot be read ({error}); the file is damaged, cut short, not readable, "
            "or not what its suffix says: fetch it again or leave it out"
        ) from error


def _txt_rows(stream: ByteStream, text: Utf8Text, files: FilesParams) -> Iterator[Row]:
    is_cut = files.document_boundary == "blank-line"
    documents = documents_of_lines(text.lines(stream), is_cut_at_blank_lines=is_cut)
    for number, document in enumerate(documents):
        yield (f"{text.name}#{number}" if is_cut or number else text.name), "", document


def _jsonl_rows(stream: ByteStream, text: Utf8Text, files: FilesParams) -> Iterator[Row]:
    for number, line in enumerate(text.lines(stream, is_cut=False)):
        if not line.strip():
            continue
        where = f"{text.name}: line {number + 1}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ArtifactError(
                f"{where} is no JSON ({error}); expected one object a line"
            ) from error
        if not isinstance(record, dict):
            raise ArtifactError(f"{where} is no JSON object; expected fields such as a text")
        yield row_of(record, f"{text.name}#{number}", where, files)


def _parquet_rows(stream: ByteStream, text: Utf8Text, files: FilesParams) -> Iterator[Row]:
    parquet = pq.ParquetFile(stream, buffer_size=1 << 20)
    columns = used_columns(files)
    for column in columns:
        require_column(column, parquet.schema_arrow.names, text.name)
    number = 0
    for batch in parquet.iter_batches(_PARQUET_BATCH_ROWS, columns=columns):
        names = batch.schema.names
        values = [
            # Arrow does not check its strings: as bytes, invalid UTF-8 can be counted.
            array.cast(_AS_BYTES[str(array.type)]) if str(array.type) in _AS_BYTES else array
            for array in batch.columns
        ]
        for cells in zip(*(array.to_pylist() for array in values), strict=True):
            record = {
                column: text.decode(cell) if isinstance(cell, bytes) else cell
                for column, cell in zip(names, cells, strict=True)
            }
            yield row_of(record, f"{text.name}#{number}", f"{text.name}: row {number}", files)
            number += 1
    if not number:
        raise ArtifactError(f"{text.name}: the file has no rows; remove it or its pattern")


def row_of(
    record: dict[str, Any], row_id: str, where: str, columns: FilesParams | HubDataset
) -> Row:
    """Take id, title and text from a record; a null text is an empty document.

    Raises: ArtifactError: a column is missing, or the text is no string.
    """
    for column in used_columns(columns):
        require_column(column, record, where)
    text = record[columns.text_column]
    if text is not None and not isinstance(text, str):
        raise ArtifactError(
            f"{where}: {columns.text_column!r} is {type(text).__name__}, expected a string; "
            "set text_column to the column that holds the text"
        )
    given_id = record[columns.id_column] if columns.id_column else None
    title = record[columns.title_column] if columns.title_column else None
    return row_id if given_id is None else str(given_id), str(title or ""), text or ""


def used_columns(columns: FilesParams | HubDataset) -> list[str]:
    """The columns that the settings name."""
    named = (columns.id_column, columns.title_column, columns.text_column)
    return [column for column in named if column is not None]


def require_column(column: str, found: Any, where: str) -> None:
    """Refuse a record or table without a column that the settings name.

    Raises: ArtifactError: it is not there.
    """
    if column not in found:
        raise ArtifactError(
            f"{where}: has no column {column!r}, found {sorted(found)}; set text_column, "
            "title_column and id_column of corpus to what is there"
        )


_READERS = {"txt": _txt_rows, "jsonl": _jsonl_rows, "parquet": _parquet_rows}
