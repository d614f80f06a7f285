"""The corpus in blocks of documents that a worker reads by itself: rows of one row group of a file.

In: the corpus artefact, of which only the files' footers are read to plan. Out: named blocks of
about a megabyte in corpus order, cut without a look at how many workers there are, so that the
process that hands them out moves no text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from stages.core.documents import corpus_files, opened_file

_BLOCK_BYTES = 1_000_000
_COLUMN = "text"


@dataclass(frozen=True)
class Block:
    """Rows first .. last - 1 of a row group."""

    path: Path
    row_group: int
    first: int
    last: int


def document_blocks(corpus: Path, split: str) -> Iterator[tuple[str, Block]]:
    """The blocks of a split, in order, each with a name of its own.

    Raises: ArtifactError: there is no file, or one is damaged or lacks a column.
    """
    for path in corpus_files(corpus, split):
        with opened_file(path) as file:
            column = file.schema_arrow.names.index(_COLUMN)
            groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        for number, group in enumerate(groups):
            size = group.column(column).total_uncompressed_size
            num_blocks = max(1, min(group.num_rows, round(size / _BLOCK_BYTES)))
            borders = [group.num_rows * part // num_blocks for part in range(num_blocks + 1)]
            for first, last in pairwise(borders):
                yield f"{path.stem}-{number:04d}-{first:08d}", Block(path, number, first, last)


class BlockReader:
    """Reads blocks; holds the last row group, since the next block is often of the same one."""

    def __init__(self) -> None:
        self._place: tuple[Path, int] | None = None
        self._texts: pa.ChunkedArray | None = None

    def texts(self, block: Block) -> list[str]:
        """The documents' texts.

        Raises: ArtifactError: the file is damaged.
        """
        place = (block.path, block.row_group)
        if place != self._place or self._texts is None:
            with opened_file(block.path) as file:
                group = file.read_row_group(block.row_group, columns=[_COLUMN])
            self._place, self._texts = place, group.column(_COLUMN)
        texts: list[str] = self._texts.slice(block.first, block.last - block.first).to_pylist()
        return texts
