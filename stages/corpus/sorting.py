"""External sorting: which documents have equal keys, however many there are.

In: a file of 64-bit keys, one a document. Sorted runs of bounded length are written beside it and
merged by splitting at a pivot until what is left fits in memory. Out: keys and document numbers in
(key, number) order, in bounded chunks; from these, pairs of documents with equal keys.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Int64, UInt64
from numpy import ndarray

RUN_RECORDS = 2_000_000
Chunk = tuple[UInt64[ndarray, "..."], Int64[ndarray, "..."]]  # as long as each other


def sorted_chunks(path: Path, run_records: int = RUN_RECORDS) -> Iterator[Chunk]:
    """Yield (keys, document numbers), sorted by both, at most `run_records` at a time.

    Disk: 16 bytes a document while it runs, beside `path`; memory: about 100 bytes a record.
    """
    count = path.stat().st_size // 8
    if not count:
        return
    keys = np.memmap(path, np.uint64, "r")
    # In a folder of its own: Ray may sort the same file again while a lost node still does.
    with TemporaryDirectory(dir=path.parent) as folder:
        sorted_keys = np.memmap(Path(folder) / "keys", np.uint64, "w+", shape=(count,))
        numbers = np.memmap(Path(folder) / "numbers", np.int64, "w+", shape=(count,))
        runs = []
        for start in range(0, count, run_records):
            end = min(count, start + run_records)
            order = np.argsort(keys[start:end], kind="stable")
            sorted_keys[start:end] = keys[start:end][order]
            numbers[start:end] = order + start
            runs.append((sorted_keys[start:end], numbers[start:end]))
        yield from _merge(runs, run_records)


def _merge(runs: list[Chunk], run_records: int) -> Iterator[Chunk]:
    """Merge sorted runs; numbers of a later run are all greater, so stability orders them too."""
    runs = [run for run in runs if len(run[0])]
    if sum(len(keys) for keys, _ in runs) <= run_records:
        if runs:
            keys = np.concatenate([keys for keys, _ in runs])
            order = np.argsort(keys, kind="stable")
            yield keys[order], np.concatenate([numbers for _, numbers in runs])[order]
        return
    longest = max(runs, key=lambda run: len(run[0]))[0]
    pivot = longest[len(longest) // 2]
    lows = [int(np.searchsorted(keys, pivot, "left")) for keys, _ in runs]
    highs = [int(np.searchsorted(keys, pivot, "right")) for keys, _ in runs]
    triples = list(zip(runs, lows, highs, strict=True))
    yield from _merge(
        [(keys[:low], numbers[:low]) for (keys, numbers), low, _ in triples], run_records
    )
    for (keys, numbers), low, high in triples:
        if low < high:
            yield np.array(keys[low:high]), np.array(numbers[low:high])
    yield from _merge(
        [(keys[high:], numbers[high:]) for (keys, numbers), _, high in triples], run_records
    )


def equal_pairs(chunks: Iterator[Chunk]) -> Iterator[Int64[ndarray, "n 2"]]:
    """Yield pairs (earlier, later) of documents with equal keys.

    Each document of a group is paired with the group's first and with the one before it: enough
    to find a copy of either, and linear in the size of the group.
    """
    last_key, first, previous = None, -1, -1
    for keys, numbers in chunks:
        positions = np.arange(len(keys))
        is_start = np.ones(len(keys), dtype=bool)
        is_start[1:] = keys[1:] != keys[:-1]
        start = np.maximum.accumulate(np.where(is_start, positions, 0))
        firsts = numbers[start]
        before = np.concatenate([numbers[:1], numbers[:-1]])
        if last_key is not None and keys[0] == last_key:
            firsts[start == 0] = first
            before[0] = previous
            is_start[0] = False
        later = ~is_start
        pairs = np.concatenate(
            [
                np.stack([firsts[later], numbers[later]], axis=1),
                np.stack([before[later], numbers[later]], axis=1)[before[later] != firsts[later]],
            ]
        )
        last_key, first, previous = keys[-1], int(firsts[-1]), int(numbers[-1])
        if len(pairs):
            yield pairs
