"""Peak memory of masked-data generation: the stages' own commands on two sizes of text.

The encoding and the masking stage run one after the other as `dvc repro` starts them, with the
settings of params.yaml and as many workers as cores; the journal's shipper is left out, for it
serves the whole pipeline. The larger text is the smaller one several times over, so that a ratio
above one shows what grows with the corpus.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from benchmarks import texts
from benchmarks.paired import Result, limit
from benchmarks.resident import Peak, run_measured
from benchmarks.tuning import user_environment
from stages.core.artifacts import write_manifest
from stages.core.token_store import SPLITS
from stages.corpus.shards import CleanDocument, ShardWriter
from stages.tokenizer.files import MODEL_MAX_LENGTH, save_tokenizer
from stages.tokenizer.kinds import KINDS

ROOT = Path(__file__).resolve().parents[1]
_VOCAB = 8000
_SHARD_BYTES = 64_000_000
_VALIDATION_EVERY = 100  # documents
_REPEATS = 4
_GIGABYTE = 1e9


@dataclass
class _Corpus:
    """What the manifest of a corpus artefact says that the encoding stage reads."""

    documents: dict[str, int]
    bytes: dict[str, int]

    def write(self, folder: Path) -> None:
        facts = {"language": "en", "documents": self.documents, "bytes": self.bytes}
        write_manifest(folder, "corpus", facts)


def measure_memory(megabytes: int, facts: dict[str, Any]) -> Iterator[Result]:
    """The peaks over so many megabytes of text and over four times as many, and their ratio."""
    peaks: list[Peak] = []
    with tempfile.TemporaryDirectory(prefix="cloze-bench-") as place:
        folder = Path(place)
        _write_tokenizer(folder / "tokenizer")
        corpus = _write_corpus(folder / "1", megabytes)
        _repeat_corpus(folder / "1", corpus, folder / str(_REPEATS))
        for times in (1, _REPEATS):
            peaks.append(_peak(folder, folder / str(times), facts, megabytes * times))
            yield limit(
                f"peak memory of masked-data generation, {megabytes * times} MB of text",
                [peaks[-1].resident / _GIGABYTE],
                unit="GB (PSS of the process tree)",
                target=1.0,
                note="mapped pages of the token store count, which the kernel may take back: "
                f"without them it is {peaks[-1].own / _GIGABYTE:.2f} GB",
            )
    small, large = peaks
    yield limit(
        f"peak memory over {megabytes * _REPEATS} MB against over {megabytes} MB",
        [large.resident / small.resident],
        unit="times",
        target=1.1,
        note="each worker of encoding remembers words up to a bound, which it may reach in the "
        "larger text alone; mapped pages of the token store count too: without them the ratio is "
        f"{large.own / small.own:.2f}",
    )


def _peak(folder: Path, corpus: Path, facts: dict[str, Any], megabytes: int) -> Peak:
    """The larger of both stages' peaks; the artefacts are deleted again."""
    tokenizer, encoding, masking = (
        str(folder / name) for name in ("tokenizer", "encoding", "masking")
    )
    commands = {
        "encoding": ["--corpus", str(corpus), "--tokenizer", tokenizer, "--out", encoding],
        "masking": ["--encoding", encoding, "--tokenizer", tokenizer, "--out", masking],
    }
    environment = {
        **user_environment(),
        "CLOZE_STATE": str(folder / "state"),
        "CLOZE_TRACKING": "off",
    }
    highest = Peak()
    for stage, arguments in commands.items():
        command = [sys.executable, "-m", f"stages.{stage}", *arguments]
        peak = run_measured(command, cwd=ROOT, environment=environment)
        facts[f"peak memory of {stage} over {megabytes} MB of text"] = (
            f"{peak.resident / _GIGABYTE:.2f} GB; {peak.own / _GIGABYTE:.2f} without mapped files"
        )
        highest.raise_to(peak)
    for written in (encoding, masking):
        shutil.rmtree(written)
    return highest


def _write_tokenizer(folder: Path) -> None:
    """The tokenizer of the other rows, as the tokenizer stage writes it."""
    folder.mkdir()
    made = texts.tokenizer(_VOCAB)
    special_tokens = KINDS["wordpiece"].special_tokens
    save_tokenizer(
        folder,
        made,
        kind="wordpiece",
        special_tokens=special_tokens,
        model_max_length=MODEL_MAX_LENGTH,
    )
    facts = {
        "kind": "wordpiece",
        "vocab_size": made.get_vocab_size(),
        "special_tokens": dict(special_tokens),
        "special_token_ids": {role: made.token_to_id(t) for role, t in special_tokens.items()},
    }
    write_manifest(folder, "tokenizer", facts)


def _write_corpus(folder: Path, megabytes: int) -> _Corpus:
    """Documents of so many megabytes as the corpus stage writes them, from the start over again."""
    folder.mkdir()
    with (
        ShardWriter(folder, "train", _SHARD_BYTES) as train,
        ShardWriter(folder, "validation", _SHARD_BYTES) as validation,
    ):
        documents = chain.from_iterable(texts.all_documents() for _ in repeat(None))
        for number, text in enumerate(documents):
            is_validation = number % _VALIDATION_EVERY == 0
            writer = validation if is_validation else train
            writer.write(CleanDocument(str(number), "", text, is_validation))
            if train.bytes + validation.bytes >= megabytes * 1e6:
                break
    writers = dict(zip(SPLITS, (train, validation), strict=True))
    corpus = _Corpus(
        {split: writer.documents for split, writer in writers.items()},
        {split: writer.bytes for split, writer in writers.items()},
    )
    corpus.write(folder)
    return corpus


def _repeat_corpus(source: Path, corpus: _Corpus, folder: Path) -> None:
    """The shards of a corpus several times over, numbered on."""
    folder.mkdir()
    for split in SPLITS:
        shards = sorted(source.glob(f"{split}-*.parquet")) * _REPEATS
        for number, shard in enumerate(shards):
            (folder / f"{split}-{number:05d}.parquet").hardlink_to(shard)
    larger = [{s: _REPEATS * n for s, n in one.items()} for one in (corpus.documents, corpus.bytes)]
    _Corpus(*larger).write(folder)
