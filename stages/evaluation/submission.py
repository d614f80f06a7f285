"""A submission to GLUE's test server, and the check that any such zip can be held against.

In: the test predictions that fine-tuning keeps, of the median dev seed of the encoder. Out: a zip
of the eleven files that the server asks for. A file whose task has no model is filled with one
constant, and the server's score of it means nothing: which ones is returned and written beside the
zip. Source: gluebenchmark.com, FAQ and the sizes of its test sets.
"""

import csv
import io
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.core.artifacts import read_json, storage_error, write_json
from stages.core.errors import ArtifactError

HEADER = ["index", "prediction"]
_BINARY = ("0", "1")
_NLI = ("entailment", "neutral", "contradiction")
_ENTAILMENT = ("entailment", "not_entailment")
_MIDDLE = 2.5
_LOWEST, _HIGHEST = 0.0, 5.0
_DATE = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same predictions


@dataclass(frozen=True)
class SubmissionFile:
    """One of the files: which task's predictions it holds, of which split, and how many."""

    name: str
    task: str
    split: str
    size: int
    values: tuple[str, ...] = ()
    """How each class is written, by its id; none where a score is predicted."""

    def spelled(self, prediction: float) -> str:
        """A prediction as the server reads it."""
        return self.values[int(prediction)] if self.values else f"{prediction:.3f}"

    @property
    def constant(self) -> str:
        """What stands everywhere if the task has no model: the first class, or the middle score."""
        return self.values[0] if self.values else f"{_MIDDLE:.3f}"

    def is_valid(self, text: str) -> bool:
        """Whether the server would take this prediction."""
        if self.values:
            return text in self.values
        try:
            value = float(text)
        except ValueError:
            return False
        return math.isfinite(value) and _LOWEST <= value <= _HIGHEST

    @property
    def expected(self) -> str:
        """What a prediction may be, for messages."""
        return ", ".join(self.values) or f"a number from {_LOWEST:g} to {_HIGHEST:g}"


FILES = (
    SubmissionFile("CoLA.tsv", "CoLA", "test", 1063, _BINARY),
    SubmissionFile("SST-2.tsv", "SST-2", "test", 1821, _BINARY),
    SubmissionFile("MRPC.tsv", "MRPC", "test", 1725, _BINARY),
    SubmissionFile("STS-B.tsv", "STS-B", "test", 1379),
    SubmissionFile("QQP.tsv", "QQP", "test", 390965, _BINARY),
    SubmissionFile("MNLI-m.tsv", "MNLI", "test", 9796, _NLI),
    SubmissionFile("MNLI-mm.tsv", "MNLI", "test_mismatched", 9847, _NLI),
    SubmissionFile("QNLI.tsv", "QNLI", "test", 5463, _ENTAILMENT),
    SubmissionFile("RTE.tsv", "RTE", "test", 3000, _ENTAILMENT),
    SubmissionFile("WNLI.tsv", "WNLI", "test", 146, _BINARY),
    SubmissionFile("AX.tsv", "MNLI", "ax", 1104, _NLI),
)


def write_submission(finetuning: Path, tasks: list[str], out: Path) -> dict[str, str]:
    """Write the zip, and `<out>.json` that says what each file holds; returns the latter.

    `tasks` are those that params.yaml fine-tunes: a folder left over from another is not looked at.
    Raises: ArtifactError: no task of GLUE was fine-tuned, or a test set is not the benchmark's.
    """
    predicted = {
        file: _predictions(finetuning / file.task, file) if file.task in tasks else None
        for file in FILES
    }
    if not any(predicted.values()):
        raise ArtifactError(
            f"{finetuning}: holds no test predictions of a task of GLUE, only {sorted(tasks)}; set "
            "tasks.source to hub, or to files with GLUE's folders, and list its tasks under "
            "finetuning.tasks"
        )
    facts = {
        file.name: f"{file.size} predictions by the encoder's median dev seed"
        if rows
        else f"{file.constant} everywhere: no model of {file.task} predicts its {file.split} set"
        for file, rows in predicted.items()
    }
    draft = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
            for file, rows in predicted.items():
                entry = zipfile.ZipInfo(file.name, _DATE)
                table = _as_table(rows or [file.constant] * file.size)
                archive.writestr(entry, table, zipfile.ZIP_DEFLATED)
        draft.replace(out)
        write_json(out.with_suffix(".json"), facts)
    except OSError as error:
        raise storage_error(error, out.parent) from error
    finally:
        draft.unlink(missing_ok=True)
    return facts


def _predictions(folder: Path, file: SubmissionFile) -> list[str] | None:
    """The predictions of a task in the order of its test set; None where there are none."""
    path = folder / "predictions.parquet"
    if not path.is_file():
        return None
    seed = read_json(folder / "metrics.json")["median_seed"]
    wanted = (
        (pc.field("system") == "encoder")
        & (pc.field("seed") == seed)
        & (pc.field("split") == file.split)
    )
    table = pq.read_table(path, columns=["index", "prediction"], filters=wanted).sort_by("index")
    if not len(table):
        return None
    if table.column("index").to_pylist() != list(range(file.size)):
        raise ArtifactError(
            f"{path}: {len(table)} predictions for {file.split} of {file.task}, expected the "
            f"benchmark's {file.size}, numbered from 0; use its whole test set, or take the task "
            "off finetuning.tasks"
        )
    return [file.spelled(one) for one in table.column("prediction").to_pylist()]


def _as_table(rows: list[str]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(enumerate(rows))
    return stream.getvalue()


def faults_of(path: Path) -> list[str]:
    """Why the server would refuse a zip, a line for each file; empty where it would not.

    Raises: ArtifactError: the file is no zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            texts = {name: archive.read(name) for name in names}
    except (OSError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path}: not readable as a zip ({error}); write it again") from error
    known = {file.name for file in FILES}
    found = [f"{name}: is no file of a submission" for name in names if name not in known]
    found += [f"{name}: is there twice" for name in sorted(set(names)) if names.count(name) > 1]
    for file in FILES:
        if file.name not in texts:
            found.append(f"{file.name}: is missing")
        elif fault := next(_file_faults(file, texts[file.name]), None):
            found.append(f"{file.name}: {fault}")
    return found


def _file_faults(file: SubmissionFile, content: bytes) -> Iterator[str]:
    """Yield what is wrong with one file, the first fault first."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        yield f"is no UTF-8 ({error})"
        return
    rows: list[list[Any]] = list(csv.reader(io.StringIO(text), delimiter="\t"))
    if not rows or rows[0] != HEADER:
        yield f"its header is {rows[0] if rows else 'missing'}, expected {HEADER}"
        return
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(HEADER):
            yield f"line {line} has {len(row)} columns, expected {len(HEADER)}"
        elif row[0] != str(line - 2):
            yield f"line {line} has the index {row[0]!r}, expected {line - 2}"
        elif not file.is_valid(row[1]):
            yield f"line {line} predicts {row[1]!r}, expected {file.expected}"
    if len(rows) - 1 != file.size:
        yield f"{len(rows) - 1} predictions, expected {file.size}"
