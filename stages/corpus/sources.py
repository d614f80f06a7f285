"""The sources of documents: what `corpus.source` chooses."""

from collections.abc import Iterator

from stages.corpus.documents import RawDocument, SourceFacts
from stages.corpus.embedded import read_embedded
from stages.corpus.files import read_files
from stages.corpus.hub import read_hub
from stages.corpus.params import CorpusParams


def read_source(params: CorpusParams, facts: SourceFacts, *, workers: int) -> Iterator[RawDocument]:
    """Yield the documents of the source that the settings choose, in its fixed order.

    `facts` is complete when the last document has been taken.
    """
    if params.source == "files":
        return read_files(params, facts)
    if params.source == "hub":
        assert params.hub is not None, "the settings ask for the block of their source"
        return read_hub(params.hub, facts)
    return read_embedded(params, facts, workers=workers)
