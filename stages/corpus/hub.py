"""Source `hub`: datasets of the Hugging Face hub, streamed from pinned revisions, and mixtures.

A mixture takes its next document from the dataset that is furthest behind its weight in characters
read, so that shares hold at every point and nothing is drawn. `datasets.interleave_datasets` would
weigh documents instead, of which a book is one and an article is one.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from stages.core.errors import ArtifactError
from stages.corpus.documents import RawDocument, SourceFacts, hash_split_document
from stages.corpus.files import row_of
from stages.corpus.params import HubDataset, HubParams


def read_hub(params: HubParams, facts: SourceFacts) -> Iterator[RawDocument]:
    """Yield the documents of every dataset: mixed by weight, or one dataset after the other.

    Raises: ArtifactError: a dataset cannot be loaded, or lacks a column.
    """
    facts.properties["datasets"] = [
        dataset.model_dump(include={"path", "name", "revision", "split", "weight"})
        for dataset in params.datasets
    ]
    streams = [
        _documents(dataset, number, params.validation_fraction)
        for number, dataset in enumerate(params.datasets)
    ]
    weights = [dataset.weight for dataset in params.datasets if dataset.weight is not None]
    mixed = mix(streams, weights) if weights else (item for stream in streams for item in stream)
    yield from _limited(mixed, params.max_characters)


def mix(
    streams: Sequence[Iterable[RawDocument]], weights: Sequence[float]
) -> Iterator[RawDocument]:
    """Merge streams so that their characters keep the ratio of `weights`; deterministic.

    Ends where the stream whose turn it is has run out: going on would change the shares.
    """
    iterators = [iter(stream) for stream in streams]
    behind = [0.0] * len(iterators)
    while True:
        turn = min(range(len(iterators)), key=behind.__getitem__)
        document = next(iterators[turn], None)
        if document is None:
            return
        behind[turn] += max(1, len(document.text)) / weights[turn]
        yield document


def _limited(documents: Iterable[RawDocument], max_characters: int | None) -> Iterator[RawDocument]:
    characters = 0
    for document in documents:
        yield document
        characters += len(document.text)
        if max_characters is not None and characters >= max_characters:
            return


def _documents(
    dataset: HubDataset, number: int, validation_fraction: float
) -> Iterator[RawDocument]:
    prefix = "/".join(part for part in (dataset.path.split("/")[-1], dataset.name) if part)
    for index, record in enumerate(_records(dataset)):
        row_id = f"{prefix}/{dataset.split}#{index}"
        where = f"{dataset.path}, {dataset.split}, row {index}"
        found_id, title, text = row_of(record, row_id, where, dataset)
        # Datasets of a mixture may use the same ids.
        document_id = found_id if found_id == row_id or not number else f"{number}:{found_id}"
        yield hash_split_document(
            (document_id, title, text),
            validation_fraction=validation_fraction,
            is_hard_wrapped=dataset.unwrap_lines,
        )


def _records(dataset: HubDataset) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset

    try:
        yield from load_dataset(
            dataset.path,
            dataset.name,
            split=dataset.split,
            revision=dataset.revision,
            streaming=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ArtifactError(
            f"hub dataset {dataset.path} (name {dataset.name}, split {dataset.split}, revision "
            f"{dataset.revision}): cannot be read ({type(error).__name__}: {error}); check the "
            "spelling in corpus.hub.datasets, the network, and HF_TOKEN for a gated dataset"
        ) from error
