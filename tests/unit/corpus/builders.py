"""Inputs of the corpus stage, written by hand."""

import gzip
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.settings import parse_section
from stages.corpus.params import CorpusParams

CLEANING: dict[str, Any] = {
    "unicode_form": "NFC",
    "max_invalid_utf8_fraction": 0.001,
    "min_document_characters": 20,
    "near_duplicates": {
        "similarity_threshold": 0.8,
        "shingle_words": 3,
        "num_permutations": 128,
    },
    "decontamination": {"ngram_words": 13, "max_cut_fraction": 0.5},
}
FILES: dict[str, Any] = {
    "patterns": ["**/*"],
    "document_boundary": "file",
    "validation_fraction": 0.1,
}


def corpus_params(
    source: str | Path,
    *,
    cleaning: Mapping[str, Any] | None = None,
    shard_size_bytes: int = 1_000_000,
    language: str = "en",
    **files: Any,
) -> CorpusParams:
    """Settings of a files source, with what a test changes."""
    values = {
        "source": "files",
        "input": str(source),
        "language": language,
        "shard_size_bytes": shard_size_bytes,
        "cleaning": {**CLEANING, **(cleaning or {})},
        "files": {**FILES, **files},
    }
    return parse_section(CorpusParams, values, where="corpus")


def prose(seed: int, num_words: int = 60) -> str:
    """Text that looks like no other seed's: random words, some lines."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(num_words)]
    lines = [" ".join(words[i : i + 20]) + "." for i in range(0, num_words, 20)]
    return "\n".join(lines)


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    """Write records as JSON lines, compressed where the name says gz."""
    data = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_task(folder: Path, splits: Mapping[str, list[str]]) -> None:
    """Write a tasks artefact of one single-sentence task."""
    (folder / "one").mkdir(parents=True, exist_ok=True)
    for split, texts in splits.items():
        columns = {
            "text_a": pa.array(texts, pa.string()),
            "text_b": pa.array([None] * len(texts), pa.string()),
        }
        pq.write_table(pa.table(columns), folder / "one" / f"{split}.parquet")
    manifest = {
        "stage": "tasks",
        "tasks": {"one": {"splits": {split: {"examples": len(t)} for split, t in splits.items()}}},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def rows(folder: Path, split: str) -> list[dict[str, str]]:
    """All documents of a split, over its shards."""
    return [
        row
        for path in sorted(folder.glob(f"{split}-*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
