"""Read the chosen columns of a tsv, csv or jsonl file, with the line number of every row.

tsv is GLUE's: a tab separates, a quote is a quote (its quotes are unbalanced, and a reader that
knows quotes swallows hundreds of rows in silence). csv is the standard library's, quotes and line
ends inside them included. All three are UTF-8, with or without a byte order mark.
"""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from stages.core.errors import ArtifactError
from stages.tasks.params import FileFormat
from stages.tasks.specs import Column

_SURROGATE = re.compile("[\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"
_MAX_CSV_FIELD_CHARACTERS = 10_000_000


@dataclass(frozen=True)
class Row:
    """The chosen columns of one row; None where its width differs from the header's."""

    line: int  # where it begins, from 1
    values: tuple[str, ...] | None
    found_width: int = 0


@dataclass(frozen=True)
class Table:
    """A file's rows, and which of the columns asked for it has."""

    path: Path
    columns: tuple[Column, ...]
    width: int  # fields in a row
    rows: Iterator[Row]


def read_table(
    path: Path,
    file_format: FileFormat,
    columns: Sequence[Column],
    *,
    optional: Sequence[Column] = (),
    has_header: bool = True,
) -> Table:
    """Open a file and find its columns; rows are read as they are taken.

    `optional` columns are left out of `Table.columns` where the file lacks them.
    Raises: ArtifactError: the file is missing, empty, binary or not UTF-8, or lacks a column;
        also while rows are taken.
    """
    if file_format == "jsonl":
        return _read_json_lines(path, columns, optional)
    fields = _csv_fields(path) if file_format == "csv" else _tsv_fields(path)
    first = next(fields, None)
    if first is None:
        raise _empty(path)
    line, header = first
    if has_header:
        chosen = _find_columns(path, line, header, columns, optional)
        places = [header.index(str(column)) for column in chosen]
        return Table(path, chosen, len(header), _rows(fields, places, len(header)))
    positions = [int(column) for column in columns]
    if max(positions) >= len(header):
        raise ArtifactError(
            f"{path}: line {line}: has {len(header)} columns, expected at least "
            f"{max(positions) + 1}: positions {positions} are read and the file has no header; "
            "is it the right file, and are its columns separated as its format says?"
        )
    return Table(
        path, tuple(columns), len(header), _rows(chain([first], fields), positions, len(header))
    )


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 text file, line ends kept; only a line feed ends a line.

    Raises: ArtifactError: the file cannot be opened, or a line is binary or not UTF-8.
    """
    try:
        with path.open("rb") as stream:
            for number, raw in enumerate(stream, 1):
                line = raw.removeprefix(_BOM) if number == 1 else raw
                if b"\0" in line:
                    raise ArtifactError(
                        f"{path}: line {number}: holds a NUL byte, expected UTF-8 text; it is a "
                        "binary or UTF-16 file, or damaged: convert it to UTF-8 text"
                    )
                yield line.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ArtifactError(
            f"{path}: line {number}: byte 0x{byte:02x} is not UTF-8; convert the file to UTF-8 "
            "(iconv), or unpack it if it is compressed"
        ) from error
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path}: not found; put the file there, or correct its name in params.yaml"
        ) from error
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error


def _tsv_fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text_lines(path), 1):
        text = line.removesuffix("\n").removesuffix("\r")
        if text:
            yield number, text.split("\t")


def _csv_fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(_MAX_CSV_FIELD_CHARACTERS)
    reader = csv.reader(text_lines(path), strict=True)
    begins = 1
    try:
        for fields in reader:
            if fields:
                yield begins, fields
            begins = reader.line_num + 1
    except csv.Error as error:
        raise ArtifactError(
            f"{path}: line {begins}: not readable as csv ({error}); a text that holds a quote is "
            'put in quotes and its quotes doubled ("")'
        ) from error


def _rows(
    fields: Iterator[tuple[int, list[str]]], places: Sequence[int], width: int
) -> Iterator[Row]:
    for line, values in fields:
        if len(values) == width:
            yield Row(line, tuple(values[place] for place in places))
        else:
            yield Row(line, None, len(values))


def _read_json_lines(path: Path, columns: Sequence[Column], optional: Sequence[Column]) -> Table:
    records = _json_records(path)
    first = next(records, None)
    if first is None:
        raise _empty(path)
    line, record = first
    chosen = _find_columns(path, line, list(record), columns, optional)

    names = [str(column) for column in chosen]

    def rows() -> Iterator[Row]:
        for number, fields in chain([first], records):
            _find_columns(path, number, list(fields), chosen, ())
            yield Row(number, tuple(_json_text(path, number, name, fields[name]) for name in names))

    return Table(path, chosen, len(record), rows())


def _json_records(path: Path) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(text_lines(path), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ArtifactError(
                f"{path}: line {number}: not JSON ({error}), expected one object a line"
            ) from error
        if not isinstance(record, dict):
            raise ArtifactError(
                f"{path}: line {number}: is a JSON {type(record).__name__}, expected an object"
            )
        yield number, record


def _json_text(path: Path, line: int, name: str, value: object) -> str:
    """A JSON value as a file of text would hold it."""
    if isinstance(value, str) and not _SURROGATE.search(value):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise ArtifactError(
        f"{path}: line {line}: {name!r} is {value!r}, expected valid text or a number"
    )


def _find_columns(
    path: Path,
    line: int,
    header: Sequence[str],
    columns: Sequence[Column],
    optional: Sequence[Column],
) -> tuple[Column, ...]:
    """The columns that are there, in the order asked for.

    Raises: ArtifactError: one that is no option is missing, or one stands there twice.
    """
    missing = [column for column in columns if column not in header]
    if set(missing) - set(optional):
        raise ArtifactError(
            f"{path}: line {line}: columns are {_shown(header)}, expected {list(columns)}; "
            f"{[column for column in missing if column not in optional]} missing: is it the right "
            "file, and are its columns separated as its format says?"
        )
    twice = [column for column in columns if list(header).count(str(column)) > 1]
    if twice:
        raise ArtifactError(
            f"{path}: line {line}: column {twice[0]!r} is there twice; name columns once"
        )
    return tuple(column for column in columns if column not in missing)


def _shown(header: Sequence[str]) -> list[str]:
    """A header for a message: a file without one has whole texts there."""
    short = [name if len(name) <= 40 else f"{name[:40]}…" for name in header[:20]]
    return [*short, "…"] if len(header) > 20 else short


def _empty(path: Path) -> ArtifactError:
    return ArtifactError(f"{path}: is empty, expected labelled examples; fill or remove it")
