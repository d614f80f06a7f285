"""Evidence and manifests by hand, in the formats that fine-tuning and the other stages write."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.registration.evidence import Evidence

Rows = Mapping[int, Sequence[float]]  # seed -> a number an example

MANIFESTS: dict[str, dict[str, Any]] = {
    "corpus": {
        "source": "python-docs",
        "language": "en",
        "documents": {"train": 1840, "validation": 42},
        "bytes": {"train": 4_812_345, "validation": 98_765},
        "read_documents": 2410,
        "invalid_utf8_replaced": 3,
        "dropped": {"short": 412, "near-duplicate": 29},
        "cut_passages": {"documents": 7, "paragraphs": 9, "bytes": 1234},
        "evaluation_ngrams": 5000,
        "cleaning": {
            "unicode_form": "NFC",
            "min_document_characters": 100,
            "near_duplicates": {"similarity_threshold": 0.8},
            "decontamination": {"ngram_words": 13, "max_cut_fraction": 0.5},
        },
    },
    "tokenizer": {
        "kind": "wordpiece",
        "vocab_size": 4032,
        "lowercase": True,
        "statistics": {"fertility": 1.53},
    },
    "encoding": {"vocab_size": 4032},
    "masking": {
        "examples": "segment-pairs",
        "masks": "static",
        "unit": "token",
        "lengths": [64],
        "mask_settings": {"mlm_probability": 0.15},
    },
    "pretraining": {
        "objective": "bert",
        "start": "scratch",
        "parameters": 1_543_210,
        "steps": 800,
        "sequences": 25_600,
        "tokens": 1_600_000,
        "flops": 1.5e13,
        "validation": {"mlm_loss": 4.9},
        "comparison": {"mlm_perplexity": 134.3},
        "adopted": [],
    },
}


def write_predictions(
    path: Path,
    columns: Mapping[str, Rows],
    *,
    splits: Sequence[str] = ("dev",),
    system: str = "encoder",
) -> None:
    """`columns`: name -> its values for each seed, the same on every split."""
    rows: dict[str, list[Any]] = {"system": [], "seed": [], "split": [], "index": []}
    rows |= {name: [] for name in columns}
    first = next(iter(columns.values()))
    for split in splits:
        for seed, values in first.items():
            rows["system"] += [system] * len(values)
            rows["seed"] += [seed] * len(values)
            rows["split"] += [split] * len(values)
            rows["index"] += range(len(values))
            for name, by_seed in columns.items():
                rows[name] += [None if v is None else float(v) for v in by_seed[seed]]
    path.parent.mkdir(parents=True, exist_ok=True)
    types = {name: pa.float64() for name in columns}
    types |= {"system": pa.string(), "split": pa.string(), "seed": pa.int64(), "index": pa.int64()}
    pq.write_table(pa.table({n: pa.array(v, types[n]) for n, v in rows.items()}), path)


def classifier(
    folder: Path,
    labels: Sequence[float],
    by_seed: Rows,
    *,
    task: str = "RTE",
    task_hash: str = "same.dir",
    metrics: tuple[str, ...] = ("accuracy",),
    median_seed: int = 1,
) -> Evidence:
    """Evidence of a classification task whose predictions lie below `folder`."""
    path = folder / "predictions.parquet"
    write_predictions(path, {"label": dict.fromkeys(by_seed, labels), "prediction": by_seed})
    return Evidence(
        task=task,
        task_hash=task_hash,
        kind="classification",
        metrics=metrics,
        median_seed=median_seed,
        predictions=path,
        seeds=tuple(by_seed),
    )


def right_in(num_right: int, num_examples: int = 200) -> list[float]:
    """Predictions for labels that are all 1: the first `num_right` are right."""
    return [1.0] * num_right + [0.0] * (num_examples - num_right)
