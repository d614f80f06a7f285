"""Read the corpus artefact: its documents, streamed in corpus order.

Streamed by `tokenizer`; `encoding` opens the same files and reads parts of them. The files are
`<split>-NNNNN.parquet` with the string columns id, title and text; a document's text is paragraphs
separated by line ends. Memory of the stream: a few pages of one file, whatever the size of its row
groups.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.errors import ArtifactError

_BATCH_DOCUMENTS = 128
_BUFFER_BYTES = 1 << 20


def iter_documents(corpus: Path, split: str) -> Iterator[tuple[str, str]]:
    """Yield (id, text) of every document of a split, in corpus order.

    Raises: ArtifactError: there is no file, or one is damaged or lacks a column.
    """
    for path in corpus_files(corpus, split):
        with opened_file(path) as file:
            for batch in file.iter_batches(_BATCH_DOCUMENTS, columns=["id", "text"]):
                columns = [batch.column(name).to_pylist() for name in ("id", "text")]
                yield from zip(*columns, strict=True)


@contextmanager
def opened_file(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file of the corpus; what fails while it is read is named after it.

    Raises: ArtifactError: it is damaged, or lacks a column.
    """
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise ArtifactError(
            f"{path}: not readable as documents with id and text ({error}); run corpus again"
        ) from error


def corpus_files(corpus: Path, split: str) -> list[Path]:
    """The files of a split, in corpus order.

    Raises: ArtifactError: there is none.
    """
    paths = sorted(corpus.glob(f"{split}-*.parquet"))
    if not paths:
        raise ArtifactError(f"{corpus}: no {split}-*.parquet; run the corpus stage (dvc repro)")
    return paths
