"""Sentences for the sample tasks: plain English, each once, with what follows what, by split.

In: documents of Python documentation that are set aside for tasks. Out: for each of train, dev and
test its passages: runs of sentences that follow one another. A document belongs to
one split alone, the same for all three tasks, so that no split knows another's module.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from stages.core.errors import ArtifactError
from stages.core.python_docs import PythonDocument
from stages.core.random import Draws
from stages.core.sentences import split_sentences

SPLITS = ("train", "dev", "test")
_LEAST_WORDS, _MOST_WORDS = 6, 40
_LEAST_PLAIN_FRACTION = 0.8  # of words made of letters alone
_PLAIN_WORD = re.compile(r"[\"'(]*[A-Za-z]+(?:['-][A-Za-z]+)*[\"')]*[.,;:!?]*")


@dataclass(frozen=True)
class Passage:
    """Sentences that follow one another in a document."""

    document: int
    sentences: tuple[str, ...]
    paragraphs: tuple[int, ...]  # of each sentence


def find_passages(documents: Iterable[PythonDocument]) -> list[Passage]:
    """The passages of all documents, in order; a sentence that stood before ends its passage."""
    seen: set[str] = set()
    passages = []
    for number, document in enumerate(documents):
        run: list[tuple[str, int]] = []
        for sentence, paragraph in [*_sentences(document), ("", -1)]:
            key = sentence.casefold()
            if is_plain(sentence) and key not in seen:
                seen.add(key)
                run.append((sentence, paragraph))
            elif run:
                sentences, paragraphs = zip(*run, strict=True)
                passages.append(Passage(number, sentences, paragraphs))
                run = []
    return passages


def _sentences(document: PythonDocument) -> Iterator[tuple[str, int]]:
    for number, paragraph in enumerate(document.text.split("\n")):
        for sentence in split_sentences(paragraph, "en"):
            yield sentence, number


def is_plain(sentence: str) -> bool:
    """Whether it is a whole sentence of 6 to 40 mostly plain words."""
    words = sentence.split()
    if not _LEAST_WORDS <= len(words) <= _MOST_WORDS:
        return False
    if not sentence[0].isupper() or sentence[-1] not in ".!?":
        return False
    plain = sum(1 for word in words if _PLAIN_WORD.fullmatch(word))
    return plain >= _LEAST_PLAIN_FRACTION * len(words)


def split_passages(
    passages: Iterable[Passage], shares: Mapping[str, float], *, seed: int
) -> dict[str, list[Passage]]:
    """Deal whole documents out to train, dev and test, so that sentences come near the shares.

    Documents are taken in random order, dev first, then test; what is left is train's.
    Raises: ArtifactError: a split gets none.
    """
    by_document: dict[int, list[Passage]] = {}
    for passage in passages:
        by_document.setdefault(passage.document, []).append(passage)
    documents = list(by_document.values())
    total = sum(len(passage.sentences) for runs in documents for passage in runs)
    dealt: dict[str, list[Passage]] = {split: [] for split in SPLITS}
    order = Draws(seed, "tasks.sample.documents").permute(range(len(documents)), len(documents), 0)
    taken, border = 0, {"dev": shares["dev"], "test": shares["dev"] + shares["test"]}
    for place in order:
        split = next((name for name in border if taken < border[name] * total), "train")
        dealt[split].extend(documents[place])
        taken += sum(len(passage.sentences) for passage in documents[place])
    empty = [split for split in SPLITS if not dealt[split]]
    if empty:
        raise ArtifactError(
            f"sample tasks: {len(documents)} documents with plain sentences are set aside, none is "
            f"left for {', '.join(empty)}; expected at least one for each of {', '.join(SPLITS)}: "
            "install the packages of requirements.lock, or choose another tasks.source"
        )
    return dealt
