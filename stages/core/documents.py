"""Read the corpus artefact: its documents, streamed in corpus order.

Read by `tokenizer` and `encoding`. The files are `<split>-NNNNN.parquet` with the string columns
id, title and text; a document's text is paragraphs separated by line ends. Memory: a few pages of
one file, whatever the size of its row groups.
"""

from collections.abc import Iterator
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
    for path in _shards(corpus, split):
        try:
            with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
                for batch in file.iter_batches(_BATCH_DOCUMENTS, columns=["id", "text"]):
                    columns = [batch.column(name).to_pylist() for name in ("id", "text")]
                    yield from zip(*columns, strict=True)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise ArtifactError(
                f"{path}: not readable as documents with id and text ({error}); run corpus again"
            ) from error


def _shards(corpus: Path, split: str) -> list[Path]:
    paths = sorted(corpus.glob(f"{split}-*.parquet"))
    if not paths:
        raise ArtifactError(f"{corpus}: no {split}-*.parquet; run the corpus stage (dvc repro)")
    return paths
