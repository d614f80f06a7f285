"""Source `python-docs`: the embedded documents, less those set aside for the sample tasks."""

from collections.abc import Iterator
from pathlib import Path

from stages.core.python_docs import assigned_split, check_versions, read_python_docs
from stages.corpus.documents import RawDocument, SourceFacts
from stages.corpus.params import CorpusParams


def read_embedded(
    params: CorpusParams, facts: SourceFacts, *, workers: int
) -> Iterator[RawDocument]:
    """Yield the documents that their hash gives to train or validation.

    Raises: ArtifactError: a package is missing, or is not the one of the lock file.
    """
    facts.properties["versions"] = check_versions(Path(params.input))
    for document in read_python_docs(("train", "validation"), workers=workers):
        is_validation = assigned_split(document.id) == "validation"
        yield RawDocument(document.id, document.title, document.text, is_validation=is_validation)
