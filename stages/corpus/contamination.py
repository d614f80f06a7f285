"""Decontamination: text that dev and test examples of the tasks share with the corpus is cut out.

In: the tasks artefact. Out: a sorted array of the hashes of every run of `ngram_words` words in
its dev and test texts, and a cutter that removes the paragraphs of a document that such a run
touches. A paragraph, not the document: a book does not go for one sentence; a document that would
lose more than the share set goes whole. A text shorter than a run cannot contaminate.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, UInt64
from numpy import ndarray

from stages.core.artifacts import read_manifest
from stages.core.errors import ArtifactError
from stages.corpus.shingles import WordHashes, hash_runs

_TABLE_BITS = 24
_TRAINING_SPLIT = "train"
# Of a kind of task each; answers are left out, since they stand in the context.
_TEXT_COLUMNS = ({"text_a", "text_b"}, {"question", "context"})


class NgramIndex:
    """Membership in a sorted array of hashes: a 16 MB table of their top bits answers most."""

    def __init__(self, sorted_hashes: UInt64[ndarray, "n"], ngram_words: int) -> None:
        self.ngram_words = ngram_words
        self._hashes = sorted_hashes
        self._table = np.zeros(1 << _TABLE_BITS, dtype=bool)
        self._table[_top_bits(sorted_hashes)] = True

    def __len__(self) -> int:
        return len(self._hashes)

    def contains(self, hashes: UInt64[ndarray, "runs"]) -> Bool[ndarray, "runs"]:
        """Whether each hash is in the index."""
        found = self._table[_top_bits(hashes)]
        likely = np.flatnonzero(found)
        if len(likely):
            wanted = hashes[likely]
            place = np.searchsorted(self._hashes, wanted)
            place[place == len(self._hashes)] = 0
            found[likely] = self._hashes[place] == wanted
        return found

    def touched_words(self, words: UInt64[ndarray, "words"]) -> Bool[ndarray, "words"]:
        """Which words lie in a run of words that the index holds."""
        starts = np.flatnonzero(self.contains(hash_runs(words, self.ngram_words)))
        change = np.zeros(len(words) + 1, dtype=np.int64)
        np.add.at(change, starts, 1)
        np.add.at(change, starts + self.ngram_words, -1)
        return np.cumsum(change)[:-1] > 0


@dataclass(frozen=True)
class Cut:
    """A document after the cut: what stays, what went, and how much that was."""

    kept: str
    gone: str
    kept_words: UInt64[ndarray, "words"]
    num_paragraphs: int
    cut_fraction: float


def cut_contaminated(
    paragraphs: list[str], words: list[UInt64[ndarray, "_"]], index: NgramIndex
) -> Cut | None:
    """Cut the paragraphs that share a run of words with the index; None where there are none.

    `words` holds each paragraph's word hashes. A run may begin in one paragraph and end in another.
    `cut_fraction` is of characters.
    """
    touched = index.touched_words(np.concatenate(words))
    if not touched.any():
        return None
    owners = np.repeat(np.arange(len(paragraphs)), [len(hashes) for hashes in words])
    cut = set(owners[touched].tolist())
    kept = [number for number in range(len(paragraphs)) if number not in cut]
    gone = "\n".join(paragraphs[number] for number in sorted(cut))
    return Cut(
        kept="\n".join(paragraphs[number] for number in kept),
        gone=gone,
        kept_words=np.concatenate([np.zeros(0, np.uint64), *(words[number] for number in kept)]),
        num_paragraphs=len(cut),
        cut_fraction=len(gone) / max(1, sum(map(len, paragraphs)) + len(cut) - 1),
    )


def build_index(texts: Iterable[str], ngram_words: int) -> UInt64[ndarray, "n"]:
    """The sorted hashes of all runs of `ngram_words` words in the texts."""
    words = WordHashes()
    runs = [hash_runs(words.of_text(text), ngram_words) for text in texts]
    return np.unique(np.concatenate(runs)) if runs else np.zeros(0, np.uint64)


def evaluation_texts(tasks: Path) -> Iterator[str]:
    """The texts of every split but train, of every task of the tasks artefact.

    Raises: ArtifactError: the artefact is missing or damaged.
    """
    for name, task in sorted(read_manifest(tasks, "tasks")["tasks"].items()):
        for split in sorted(set(task["splits"]) - {_TRAINING_SPLIT}):
            for column in _text_columns(tasks / name / f"{split}.parquet"):
                yield from (text for text in column.unique().to_pylist() if text)


def _text_columns(path: Path) -> list[pa.ChunkedArray]:
    """The columns that hold the texts of a task's examples, whatever its kind.

    Raises: ArtifactError: the file cannot be read, or has no such columns.
    """
    try:
        names = set(pq.read_schema(path).names)
        chosen = next((columns for columns in _TEXT_COLUMNS if columns <= names), None)
        if chosen is not None:
            return list(pq.read_table(path, columns=sorted(chosen)).columns)
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); run tasks again") from error
    raise ArtifactError(
        f"{path}: has the columns {sorted(names)}, expected those of one kind of task: "
        f"{' or '.join(str(sorted(columns)) for columns in _TEXT_COLUMNS)}; run tasks again"
    )


def _top_bits(hashes: UInt64[ndarray, "n"]) -> UInt64[ndarray, "n"]:
    return hashes >> np.uint64(64 - _TABLE_BITS)
