"""The corpus section of params.yaml: one source, and the cleaning that every source goes through.

What belongs to a source stands in its block (`files:` or `hub:`), which is asked for when that
source is chosen. `python-docs` needs no block: its packages and its split are fixed.
"""

from typing import Literal

from pydantic import Field, model_validator

from stages.core.settings import Section


class FilesParams(Section):
    """Documents in files below `corpus.input`, a file or a folder, local or any fsspec URL."""

    patterns: tuple[str, ...] = Field(strict=False, min_length=1)
    """Globs below the folder, `**` for any depth; not used where `input` is one file."""
    format: Literal["txt", "jsonl", "parquet"] | None = None
    """Format of every file; left out, a file's suffix says it (before `.gz` or `.zst`)."""
    document_boundary: Literal["blank-line", "file"] | None = None
    """Where a document of a txt file ends; asked for where there is a txt file."""
    text_column: str = "text"
    """Field of jsonl and parquet that holds the text."""
    title_column: str | None = None
    """Field that holds the title; left out, titles are empty."""
    id_column: str | None = None
    """Field that holds a unique id; left out, an id is the file's relative path and row."""
    unwrap_lines: bool = False
    """Join the lines of a block: for hard-wrapped text, whose paragraphs end at blank lines."""
    validation_fraction: float = Field(gt=0, le=0.5)
    """Share of the documents that the hash of their id sends to validation."""


class HubDataset(Section):
    """One dataset of the Hugging Face hub, streamed from one pinned revision."""

    path: str
    """Repository, e.g. `wikimedia/wikipedia`, or a local folder that `datasets` can load."""
    name: str | None = None
    """Configuration of the dataset, e.g. `20231101.en`."""
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    """Commit of the repository: a branch name would change under the same settings."""
    split: str = "train"
    """Split of the dataset to read."""
    text_column: str = "text"
    """Column that holds the text."""
    title_column: str | None = None
    """Column that holds the title; left out, titles are empty."""
    id_column: str | None = None
    """Column that holds a unique id; left out, an id is the row number."""
    unwrap_lines: bool = False
    """Join the lines of a block: for hard-wrapped text, whose paragraphs end at blank lines."""
    weight: float | None = Field(default=None, gt=0)
    """Share of this dataset in the characters of the mixture, relative to the others'."""


class HubParams(Section):
    """One dataset or several; with weights they are mixed until the first one runs out."""

    datasets: tuple[HubDataset, ...] = Field(strict=False, min_length=1)
    """The datasets; without weights each is taken whole, one after the other."""
    max_characters: int | None = Field(default=None, ge=1)
    """Characters to read before stopping, counted before cleaning; left out, no limit."""
    validation_fraction: float = Field(gt=0, le=0.5)
    """Share of the documents that the hash of their id sends to validation."""

    @model_validator(mode="after")
    def _weights_belong_together(self) -> "HubParams":
        if len({dataset.weight is None for dataset in self.datasets}) > 1:
            raise ValueError("give every dataset of the mixture a weight, or none of them")
        return self


class NearDuplicateParams(Section):
    """MinHash with banding; a document like an earlier one is dropped."""

    similarity_threshold: float = Field(ge=0.5, lt=1)
    """Jaccard similarity of the shingle sets, as estimated, from which on a document is dropped."""
    shingle_words: int = Field(ge=1, le=50)
    """Words in a shingle."""
    num_permutations: int = Field(ge=16, le=1024)
    """Length of a signature: the estimate's standard error is below 0.5 / sqrt(this)."""


class DecontaminationParams(Section):
    """Text that the tasks' dev and test examples share with the corpus is cut out."""

    ngram_words: int = Field(ge=5, le=100)
    """Length of a shared run of words, compared without case and punctuation."""
    max_cut_fraction: float = Field(ge=0, le=1)
    """Share of a document's characters that may be cut; above it the document is dropped."""


class CleaningParams(Section):
    """What happens to every document, whatever its source."""

    unicode_form: Literal["NFC", "NFKC"]
    """Unicode normalisation: NFC keeps what is seen, NFKC also folds ligatures and widths."""
    max_invalid_utf8_fraction: float = Field(ge=0, le=1)
    """Share of a file's bytes that may be invalid UTF-8 (and is replaced) before it is refused."""
    min_document_characters: int = Field(ge=1)
    """Characters below which a document is dropped as short."""
    near_duplicates: NearDuplicateParams | None
    """Near-duplicate detection; null switches it off (exact duplicates always go)."""
    decontamination: DecontaminationParams | None
    """Decontamination against artifacts/tasks; null switches it off."""


class CorpusParams(Section):
    """The corpus section of params.yaml."""

    source: Literal["python-docs", "files", "hub"]
    """Where documents come from."""
    input: str = Field(min_length=1)
    """What DVC watches: the lock file for python-docs and hub, the root itself for files."""
    language: str
    """Language of the text (ISO 639-1): chooses the sentence splitter."""
    shard_size_bytes: int = Field(ge=1)
    """UTF-8 bytes of text after which an output shard is closed."""
    cleaning: CleaningParams
    """What happens to every document, whatever its source."""
    files: FilesParams | None = None
    """The block of source `files`."""
    hub: HubParams | None = None
    """The block of source `hub`."""

    @model_validator(mode="after")
    def _source_has_its_block(self) -> "CorpusParams":
        for source in ("files", "hub"):
            is_given, is_used = getattr(self, source) is not None, self.source == source
            if is_used and not is_given:
                raise ValueError(f"source is {source!r}: state its settings in corpus.{source}")
            if is_given and not is_used:
                raise ValueError(f"corpus.{source} is given but source is {self.source!r}")
        if self.source == "python-docs" and self.language != "en":
            raise ValueError(f"source python-docs is English, language is {self.language!r}")
        return self
