"""Source python-docs: pending."""

from collections.abc import Iterator

from stages.corpus.documents import RawDocument, SourceFacts


def read_docs(facts: SourceFacts, *, workers: int) -> Iterator[RawDocument]:
    """Pending."""
    raise NotImplementedError
