"""Source `sample`: three labelled tasks made from Python documentation, in GLUE's three shapes.

They need no download and no licence, and say whether pre-training helps; they are never GLUE. The
documents are those that `assigned_split` sets aside, which no corpus holds.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from stages.core.errors import ArtifactError
from stages.core.python_docs import check_versions, read_python_docs
from stages.core.random import Draws
from stages.tasks import acceptability, continuation, similarity
from stages.tasks.params import SampleParams, TasksParams
from stages.tasks.passages import SPLITS, Passage, find_passages, split_passages
from stages.tasks.splits import Split, Task

T = TypeVar("T")


def read_sample(params: TasksParams, facts: dict[str, Any], *, workers: int) -> Iterator[Task]:
    """Yield the three sample tasks; the versions that were read are added to `facts`.

    Raises: ArtifactError: the installed packages are not the locked ones, or give too little text.
    """
    facts["versions"] = check_versions(Path(params.input))
    documents = read_python_docs(("tasks",), workers=workers)
    sizes = sizes_of(params.sample)
    total = sum(sizes.values())
    shares = {split: size / total for split, size in sizes.items()}
    passages = split_passages(find_passages(documents), shares, seed=params.seed)
    yield _acceptability(passages, sizes, params.seed)
    yield _continuation(passages, sizes, params.seed)
    yield _similarity(passages, sizes, params.seed)


def sizes_of(sample: SampleParams) -> dict[str, int]:
    """Most examples of a task, by split."""
    return {
        "train": sample.train_examples,
        "dev": sample.dev_examples,
        "test": sample.test_examples,
    }


def choose(items: Sequence[T], most: int, *, seed: int, purpose: str) -> list[T]:
    """At most `most` of the items, in random order."""
    order = Draws(seed, purpose).permute(range(len(items)), max(1, len(items)), 0)
    return [items[place] for place in order[:most]]


def _sentences(passages: Sequence[Passage], most: int, seed: int, purpose: str) -> list[str]:
    sentences = [sentence for passage in passages for sentence in passage.sentences]
    return choose(sentences, most, seed=seed, purpose=purpose)


def _acceptability(
    passages: Mapping[str, Sequence[Passage]], sizes: Mapping[str, int], seed: int
) -> Task:
    splits = {}
    for split in SPLITS:
        purpose = f"tasks.sample.acceptability.{split}.choice"
        sentences = _sentences(passages[split], sizes[split], seed, purpose)
        texts, labels = acceptability.make_acceptability(sentences, seed=seed, split=split)
        splits[split] = Split(texts, None, labels)
    return Task(
        name="sample-acceptability",
        kind="classification",
        metrics=("matthews_correlation",),
        labels=acceptability.LABELS,
        splits=_checked("sample-acceptability", splits),
        is_pair=False,
        note=_note(splits, sizes),
    )


def _continuation(
    passages: Mapping[str, Sequence[Passage]], sizes: Mapping[str, int], seed: int
) -> Task:
    splits = {}
    for split in SPLITS:
        most = sizes[split]
        chosen: list[continuation.Pair] = []
        for in_one_paragraph in (True, False):
            pairs = continuation.neighbours(passages[split], in_one_paragraph=in_one_paragraph)
            purpose = f"tasks.sample.continuation.{split}.choice.{in_one_paragraph}"
            room = (most + 1) // 2 - len(chosen)
            chosen += choose(pairs, room, seed=seed, purpose=purpose)
        texts_a, texts_b, labels = continuation.make_continuation(chosen, seed=seed, split=split)
        splits[split] = Split(texts_a[:most], texts_b[:most], labels[:most])
    return Task(
        name="sample-continuation",
        kind="classification",
        metrics=("accuracy",),
        labels=continuation.LABELS,
        splits=_checked("sample-continuation", splits),
        is_pair=True,
        note=_note(splits, sizes),
    )


def _similarity(
    passages: Mapping[str, Sequence[Passage]], sizes: Mapping[str, int], seed: int
) -> Task:
    splits = {}
    for split in SPLITS:
        purpose = f"tasks.sample.similarity.{split}.choice"
        sentences = _sentences(passages[split], sizes[split], seed, purpose)
        splits[split] = Split(*similarity.make_similarity(sentences, seed=seed, split=split))
    return Task(
        name="sample-similarity",
        kind="regression",
        metrics=("pearson", "spearman"),
        labels=None,
        splits=_checked("sample-similarity", splits),
        is_pair=True,
        score_range=similarity.SCORE_RANGE,
        note=_note(splits, sizes),
    )


def _checked(name: str, splits: dict[str, Split]) -> dict[str, Split]:
    """Refuse a task without examples.

    Raises: ArtifactError: a split is empty.
    """
    for split, examples in splits.items():
        if not len(examples):
            raise ArtifactError(
                f"{name}: the documents set aside give no example for {split}, expected at least "
                "one; install the packages of requirements.lock, or choose another tasks.source"
            )
    return splits


def _note(splits: Mapping[str, Split], sizes: Mapping[str, int]) -> str:
    """Which splits are smaller than asked for, because the text gives no more."""
    return "; ".join(
        f"{split} holds {len(examples):,} examples of {sizes[split]:,} asked for: the text gives "
        "no more"
        for split, examples in splits.items()
        if len(examples) < sizes[split]
    )
