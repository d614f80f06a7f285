"""One micro pipeline per test session: the project in a temporary copy, run by `dvc repro`."""

import csv
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
NOUNS = [
    "array",
    "table",
    "matrix",
    "index",
    "column",
    "row",
    "value",
    "frame",
    "label",
    "series",
    "model",
    "window",
]
VERBS = [
    "holds",
    "returns",
    "moves",
    "keeps",
    "reads",
    "splits",
    "joins",
    "counts",
    "sorts",
    "prints",
]
ENDS = [
    "in order",
    "at once",
    "by name",
    "from the start",
    "to the end",
    "without a copy",
    "in place",
    "as stated",
]
LEARNT = {
    "start": "artifacts/pretraining/encoder",
    "protocol": "fixed",
    "max_train_examples": None,
    "max_seq_length": 32,
}
PROTOCOL = {
    "batch_sequences": 16,
    "num_epochs": 1,
    "learning_rate": 1e-3,
    "warmup_fraction": 0.1,
    "weight_decay": 0.01,
    "layerwise_lr_decay": 1.0,
    "early_stop_epochs": None,
}
CHANGES: dict[str, Any] = {
    "corpus": {
        "source": "files",
        "input": "data/documents",
        "files": {
            "patterns": ["*.txt"],
            "document_boundary": "file",
            "validation_fraction": 0.2,
        },
    },
    "tasks": {
        "source": "files",
        "input": "data/tasks",
        "custom": {
            name: {
                "train": f"{name}/train.csv",
                "dev": f"{name}/dev.csv",
                "text_columns": ["text"],
                "label_column": "team",
                "kind": "classification",
                "metrics": ["accuracy", "macro_f1"],
            }
            for name in ("first", "second")
        },
    },
    "tokenizer": {"vocab_size": 160, "pad_to_multiple_of": 8},
    "masking": {
        "lengths": [{"max_seq_length": 32, "max_predictions_per_sequence": 5}],
        "duplication_factor": 1,
    },
    "pretraining": {
        "phases": [{"max_seq_length": 32, "share_of_budget": 1.0, "global_batch_sequences": 8}],
        "budget": {"unit": "steps", "amount": 12},
        "num_warmup_steps": 2,
        "eval_interval_steps": 6,
        "eval_sequences": 16,
        "eval_tokens": 40,
    },
    "finetuning": {
        "seeds": [1, 2],
        "protocols": {"fixed": PROTOCOL},
        "tasks": {"first": LEARNT, "second": LEARNT},
    },
}


def sentence(draw: random.Random) -> str:
    """A plain English sentence."""
    first, second = draw.sample(NOUNS, 2)
    return f"The {first} {draw.choice(VERBS)} every {second} {draw.choice(ENDS)}."


class Project:
    """A copy of the project that is small enough to run in a minute."""

    def __init__(self, root: Path) -> None:
        self.root = root
        tracked = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for name in tracked:
            if (ROOT / name).is_file() and name != "dvc.lock":
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, root / name)
        self._git("init", "-q")
        self._git("add", "-A")
        self._git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "copy")
        self._write_data()
        self.change(CHANGES)

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.root, check=True, capture_output=True)

    def _write_data(self) -> None:
        draw = random.Random(0)
        for number in range(60):
            self.add_document(f"document{number}", [sentence(draw) for _ in range(30)])
        for name in ("first", "second"):
            folder = self.root / "data" / "tasks" / name
            folder.mkdir(parents=True)
            for split, size in (("train", 64), ("dev", 24)):
                with (folder / f"{split}.csv").open("w", newline="") as stream:
                    writer = csv.writer(stream)
                    writer.writerow(["text", "team"])
                    for number in range(size):
                        team = ("rows", "columns", "none")[number % 3]
                        writer.writerow([f"{sentence(draw)} {team}", team])

    def add_document(self, name: str, sentences: list[str]) -> None:
        """Add one text file to the corpus's source."""
        path = self.root / "data" / "documents" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(sentences) + "\n")

    @property
    def params(self) -> dict[str, Any]:
        """The settings as they are now."""
        return YAML().load((self.root / "params.yaml").read_text())

    def change(self, changes: Mapping[str, Any]) -> None:
        """Merge changes into params.yaml; `finetuning.tasks` is replaced whole."""
        params = self.params
        for section, values in changes.items():
            params[section].update(values)
        with (self.root / "params.yaml").open("w") as stream:
            YAML().dump(params, stream)

    def environment(self, **variables: str) -> dict[str, str]:
        """The environment of a command in the copy: its own state, no tracking server."""
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "CLOZE_STATE": str(self.root / ".cloze"),
            "DVC_NO_ANALYTICS": "1",
            **variables,
        }
        environment.pop("MLFLOW_TRACKING_URI", None)
        return environment

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy."""
        return subprocess.run(
            command,
            cwd=self.root,
            env=self.environment(**variables),
            capture_output=True,
            text=True,
            check=False,
        )

    def repro(self, *arguments: str) -> list[str]:
        """Run `dvc repro`; the stages that ran."""
        result = self.run("dvc", "repro", *arguments)
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-6000:]
        lines = (result.stdout + result.stderr).splitlines()
        return [line.split("'")[1] for line in lines if line.startswith("Running stage '")]

    @property
    def lock(self) -> dict[str, dict[str, str]]:
        """Stage -> path -> hash of each out."""
        stages = YAML(typ="safe").load((self.root / "dvc.lock").read_text())["stages"]
        return {
            name: {out["path"]: out["md5"] for out in entry.get("outs", [])}
            for name, entry in stages.items()
        }


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> Project:
    """The micro pipeline, run once."""
    made = Project(tmp_path_factory.mktemp("project"))
    made.ran_first = made.repro()  # type: ignore[attr-defined]
    return made
