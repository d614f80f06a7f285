"""A workspace as the stages before evaluation leave it, small enough to write by hand."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.tracking.journal import RunJournal
from stages.evaluation.run import OUTPUTS, UPSTREAM

SEEDS = (1, 2, 3)
DEV_EXAMPLES = 12
PARAMS = """\
tasks: {source: sample, input: requirements.lock, seed: 1}
corpus: {source: python-docs, input: requirements.lock, language: en}
tokenizer: {start: scratch, kind: wordpiece, vocab_size: 8000}
encoding: {max_sentence_characters: 4000}
masking: {mlm_probability: 0.15, lengths: [{max_seq_length: 128}]}
pretraining: {start: scratch, model: {size: tiny, overrides: {}}, learning_rate: 1.0e-3}
finetuning:
  mode: full
  seeds: [1, 2, 3]
  tasks: {}
evaluation: {macro_score_leaves_out: [WNLI], clear_difference_deviations: 2.0}
registration: {encoder_name: secret-name}
"""
MANIFESTS: dict[str, dict[str, Any]] = {
    "corpus": {
        "source": "python-docs",
        "language": "en",
        "documents": {"train": 1840, "validation": 42},
        "bytes": {"train": 4_812_345, "validation": 98_765},
        "read_documents": 2410,
        "dropped": {"too_short": 412, "exact_duplicate": 87, "near_duplicate": 29},
        "dropped_samples": {
            "too_short": [
                {"id": "abc.py", "text": "<b>bold</b> & <script>alert(1)</script>\x00\x1b"}
            ],
            "exact_duplicate": [{"id": "x.y", "text": "Return the sum of array elements."}],
        },
    },
    "tokenizer": {
        "kind": "wordpiece",
        "vocab_size": 8000,
        "lowercase": True,
        "special_token_ids": {"pad": 0},
        "statistics": {"fertility": 1.5321, "unknown_share": 0.00021, "coverage": 0.7312},
    },
    "encoding": {
        "vocab_size": 8000,
        "dtype": "uint16",
        "splits": {
            "train": {"tokens": 1_102_000, "sentences": 61_000, "documents": 1840, "words": 9},
            "validation": {"tokens": 22_000, "sentences": 1200, "documents": 42, "words": 8},
        },
    },
    "masking": {
        "examples": "segment-pairs",
        "masks": "static",
        "lengths": [128],
        "statistics": {
            "128": {
                "train": {"examples": 43_210, "masked_share": 0.1502, "random_next_share": 0.51},
                "validation": {"examples": 250, "masked_share": 0.1499, "random_next_share": 0.48},
            }
        },
    },
    "pretraining": {
        "objective": "bert",
        "parameters": 1_543_210,
        "steps": 1200,
        "sequences": 38_400,
        "start": "scratch",
        "validation": {"mlm_loss": 4.9, "mlm_accuracy": 0.22},
    },
}
CURVE = [
    {
        "step": float(step),
        "train_loss": 9.0 - step / 400,
        "train_mlm_loss": 8.3 - step / 400,
        "train_mlm_accuracy": step / 6000,
        "train_nsp_loss": 0.69,
        "train_nsp_accuracy": 0.52,
        "validation_loss": 8.8 - step / 420,
        "validation_mlm_loss": 8.1 - step / 420,
        "validation_mlm_accuracy": step / 6200,
        "validation_nsp_loss": 0.68,
        "validation_nsp_accuracy": 0.55,
    }
    for step in range(200, 1201, 200)
]


def intervals_of(
    *labels: str, difference: tuple[float, float] = (0.01, 0.4)
) -> dict[str, dict[str, list[float]]]:
    """Intervals for each measure and the score, all alike."""
    entry = {"encoder": [0.5, 0.9], "twin": [0.3, 0.7], "difference": list(difference)}
    return dict.fromkeys((*labels, "score"), entry)


class Workspace:
    """Artefacts below a folder; `add_task` lists a task and writes what fine-tuning leaves."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = {name: root / "artifacts" / name for name in (*UPSTREAM, "finetuning")}
        files = ("evaluation.json", "scores.csv", "report.html")
        self.paths |= {
            name: root / "reports" / file for name, file in zip(OUTPUTS, files, strict=True)
        }
        self.settings: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        for stage, manifest in MANIFESTS.items():
            self.write_manifest(stage, manifest)
        self.write_json(self.paths["pretraining"] / "curve.json", CURVE)
        self.list_tasks()

    def write_json(self, path: Path, value: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value), encoding="utf-8")

    def write_manifest(self, stage: str, properties: Mapping[str, Any], folder: str = "") -> None:
        files = {f"{stage}.bin": "d41d8cd98f00b204e9800998ecf8427e"}
        facts = {"content": f"{stage}{folder}.dir", "files": files}
        manifest = {"stage": stage, **facts, **properties}
        self.write_json(self.paths[stage] / folder / "manifest.json", manifest)

    def add_task(
        self,
        name: str,
        encoder: Mapping[str, list[Any]],
        twin: Mapping[str, list[Any]],
        **facts: Any,
    ) -> None:
        """`encoder` and `twin`: metric -> a value a seed."""
        self.tasks[name] = {
            "kind": "classification",
            "labels": ["no", "yes"],
            "metrics": list(encoder),
            "is_glue": False,
            "note": "",
            "splits": {"train": {"examples": 9000}, "dev": {"examples": DEV_EXAMPLES}},
            **facts,
        }
        self.settings[name] = {"start": "artifacts/pretraining/encoder", "max_train_examples": 4000}
        self.write_metrics(name, {"encoder": self.seeds(encoder), "twin": self.seeds(twin)})
        self.write_manifest("finetuning", {"task": name, "train_examples": 4000}, name)
        self.write_examples(name, [f"text {number} of {name}" for number in range(DEV_EXAMPLES)])
        self.write_predictions(name)
        self.write_curves(name)
        self.list_tasks()

    def is_regression(self, name: str) -> bool:
        return self.tasks[name]["kind"] == "regression"

    def labels(self, name: str) -> list[float]:
        """Classes in turn, or scores that rise."""
        if self.is_regression(name):
            return [4 * number / DEV_EXAMPLES for number in range(DEV_EXAMPLES)]
        return [float(number % 2) for number in range(DEV_EXAMPLES)]

    def write_examples(self, name: str, texts: list[str]) -> None:
        """The development set of a task of single texts."""
        table = pa.table(
            {
                "index": list(range(DEV_EXAMPLES)),
                "text_a": texts,
                "text_b": pa.nulls(DEV_EXAMPLES, pa.string()),
                "label": self.labels(name),
            }
        )
        (self.paths["tasks"] / name).mkdir(parents=True, exist_ok=True)
        pq.write_table(table, self.paths["tasks"] / name / "dev.parquet")

    def write_predictions(self, name: str, changed: Mapping[str, list[Any]] = {}) -> None:
        """Right but for every fourth example of the encoder, every other one of the twin.

        `changed`: columns that replace those of the whole file.
        """
        rows = []
        for system, every in (("encoder", 4), ("twin", 2)):
            for seed in SEEDS:
                for index, label in enumerate(self.labels(name)):
                    rows.append(self._prediction(name, system, seed, (index, label, every)))
        columns = {key: [row[key] for row in rows] for key in rows[0]} | dict(changed)
        path = self.paths["finetuning"] / name / "predictions.parquet"
        pq.write_table(pa.table(columns), path)

    def _prediction(
        self, name: str, system: str, seed: int, example: tuple[int, float, int]
    ) -> dict[str, Any]:
        index, label, every = example
        is_wrong = index % every == 0
        if self.is_regression(name):
            value = label + (1.0 if is_wrong else 0.25)
            scores = [value]
        else:
            value = float((label + is_wrong) % 2)
            sure = 1.0 + index / 4
            scores = [sure, 0.0] if value == 0 else [0.0, sure]
        keys = {"system": system, "seed": seed, "split": "dev", "index": index}
        return {**keys, "label": label, "prediction": value, "scores": scores}

    def add_extraction(self, name: str) -> None:
        """Questions of which the encoder misses every fourth, with two kept answers each."""
        right = {"exact_match": [0.75, 0.76, 0.74], "f1": [0.8, 0.81, 0.79]}
        self.add_task(name, right, right, kind="extraction", labels=None)
        numbers = range(DEV_EXAMPLES)
        questions = {
            "index": list(numbers),
            "question": [f"what is {number}?" for number in numbers],
            "answers": [[f"gold {number}"] for number in numbers],
        }
        pq.write_table(pa.table(questions), self.paths["tasks"] / name / "dev.parquet")
        rows = [
            {"system": system, "seed": seed, "split": "dev", "index": number, "answer": "an answer"}
            | {"exact_match": float(number % 4 > 0), "f1": float(number % 4 > 0)}
            | {"scores": [0.0, 2.0, 1.0, 3.0, 5.0, 0.0]}
            for system in ("encoder", "twin")
            for seed in SEEDS
            for number in numbers
        ]
        path = self.paths["finetuning"] / name / "predictions.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)

    def write_curves(self, name: str) -> None:
        """Three epochs for every system and seed."""
        epochs = [
            {"epoch": number, "step": 10 * number, "train_loss": 1 / number, "dev_score": 0.5}
            for number in (1, 2, 3)
        ]
        curves = {system: {str(seed): epochs for seed in SEEDS} for system in ("encoder", "twin")}
        self.write_json(self.paths["finetuning"] / name / "curves.json", curves)

    @staticmethod
    def seeds(values: Mapping[str, list[Any]]) -> dict[str, Any]:
        return {
            "seeds": {
                str(seed): {metric: scores[index] for metric, scores in values.items()}
                for index, seed in enumerate(SEEDS)
            }
        }

    def write_metrics(self, name: str, systems: Any) -> None:
        content = {
            "task": name,
            "systems": systems,
            "median_seed": 2,
            "intervals": intervals_of(*self.tasks[name]["metrics"]),
        }
        self.write_json(self.paths["finetuning"] / name / "metrics.json", content)

    def list_tasks(self) -> None:
        """Write params.yaml and the tasks manifest for the tasks of now."""
        self.write_manifest("tasks", {"source": "sample", "tasks": self.tasks})
        text = PARAMS.replace("tasks: {}", f"tasks: {json.dumps(self.settings)}")
        (self.root / "params.yaml").write_text(text, encoding="utf-8")

    def take_off_the_list(self, name: str) -> None:
        """As a user does it: the folder stays."""
        del self.settings[name]
        self.list_tasks()

    def journal(self) -> RunJournal:
        return RunJournal("evaluation-test")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The working folder is the workspace, with the three sample tasks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOZE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("CLOZE_TRACKING", "off")
    made = Workspace(Path())
    made.add_task(
        "sample-acceptability",
        {"matthews_correlation": [0.31, 0.35, 0.33]},
        {"matthews_correlation": [0.02, -0.03, 0.04]},
    )
    made.add_task(
        "sample-continuation", {"accuracy": [0.61, 0.64, 0.60]}, {"accuracy": [0.60, 0.58, 0.63]}
    )
    made.add_task(
        "sample-similarity",
        {"pearson": [0.71, 0.72, 0.70], "spearman": [0.69, 0.71, 0.70]},
        {"pearson": [0.51, 0.52, 0.48], "spearman": [0.50, 0.50, 0.46]},
        kind="regression",
        labels=None,
    )
    return made
