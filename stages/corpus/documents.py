"""Documents on their way through the stage: as a source gives them, and in bounded batches.

Batches are cut by size alone, so that they, and all that follows, are the same whatever the number
of workers. A document beyond `MAX_DOCUMENT_CHARACTERS` is cut into parts at line ends, since one
document has to fit in memory several times over.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256

from stages.core.random import hash_fraction
from stages.corpus.surrogates import replace_surrogates

MAX_DOCUMENT_CHARACTERS = 5_000_000
_BATCH_CHARACTERS = 2_000_000
_BATCH_DOCUMENTS = 4_096
Row = tuple[str, str, str]  # id, title, text


@dataclass(frozen=True)
class RawDocument:
    """A document before cleaning."""

    id: str
    title: str
    text: str
    is_validation: bool
    is_hard_wrapped: bool = False


@dataclass
class SourceFacts:
    """What a source counted while it was read, and states about itself in the manifest."""

    replaced_bytes: int = 0
    properties: dict[str, object] = field(default_factory=dict)


def hash_split_document(
    row: Row, *, validation_fraction: float, is_hard_wrapped: bool
) -> RawDocument:
    """A document whose split is decided by the hash of its id, whatever the order of documents."""
    document_id, title, text = row
    document_id = replace_surrogates(document_id)[0]
    return RawDocument(
        id=document_id,
        title=title,
        text=text,
        is_validation=hash_fraction(document_id, "corpus split") < validation_fraction,
        is_hard_wrapped=is_hard_wrapped,
    )


def batches(documents: Iterable[RawDocument]) -> Iterator[list[RawDocument]]:
    """Group documents, in order, into lists of about two million characters."""
    batch: list[RawDocument] = []
    characters = 0
    for document in documents:
        for part in _parts(document):
            batch.append(part)
            characters += len(part.text)
            if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_DOCUMENTS:
                yield batch
                batch, characters = [], 0
    if batch:
        yield batch


def content_of(documents: Iterable[RawDocument]) -> str:
    """A short hash of all that documents hold."""
    digest = sha256()
    for document in documents:
        digest.update(f"{document!r}\n".encode())
    return digest.hexdigest()[:16]


def cut_at_line_end(text: str, limit: int) -> tuple[str, str]:
    """Cut a text that is longer than `limit` at its last line end before it, else at `limit`."""
    end = text.rfind("\n", 1, limit) + 1
    end = end or limit
    return text[:end], text[end:]


def _parts(document: RawDocument) -> Iterator[RawDocument]:
    if len(document.text) <= MAX_DOCUMENT_CHARACTERS:
        yield document
        return
    rest, number = document.text, 1
    while rest:
        text, rest = cut_at_line_end(rest, MAX_DOCUMENT_CHARACTERS)
        yield replace(document, id=f"{document.id}#part{number}", text=text)
        number += 1
