"""Training as a user runs it: the stage's command, killed, resumed, distributed, refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM

from stages.core.artifacts import content_hash, read_manifest
from stages.core.settings import parse_section
from stages.core.tracking.journal import RunJournal
from stages.masking import run as masking
from stages.masking.params import MaskingParams
from tests.builders import random_documents, write_encoding, write_tokenizer
from tests.unit.masking.test_run import SETTINGS as MASKING
from tests.unit.pretraining.in_process import Ended, run_command

pytestmark = pytest.mark.slow
VOCAB = 120
ROOT = Path(__file__).resolve().parents[3]


def steps(number):
    return {"unit": "steps", "amount": number}


SETTINGS = {
    "start": "scratch",
    "objective": "bert",
    "model": {
        "size": "tiny",
        "overrides": {"hidden_size": 32, "num_attention_heads": 2},
        "hidden_dropout_probability": 0.1,
        "attention_dropout_probability": 0.1,
    },
    "phases": [{"max_seq_length": 64, "share_of_budget": 1.0, "global_batch_sequences": 8}],
    "budget": steps(30),
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "num_warmup_steps": 3,
    "weight_decay": 0.01,
    "adam_betas": [0.9, 0.999],
    "adam_epsilon": 1e-6,
    "max_grad_norm": 1.0,
    "precision": "float32",
    "eval_interval_steps": 10,
    "eval_sequences": 16,
    "eval_tokens": 40,
    "seed": 1,
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    root = tmp_path_factory.mktemp("pretraining")
    documents = {
        "train": random_documents(0, 40, VOCAB),
        "validation": random_documents(1, 8, VOCAB),
    }
    write_encoding(root / "encoding", documents, VOCAB)
    write_tokenizer(root / "tokenizer", VOCAB)
    paths = {name: root / name for name in ("encoding", "tokenizer")}
    settings = parse_section(MaskingParams, MASKING, where="masking")
    os.environ.setdefault("CLOZE_STATE", str(root / "state"))
    masking.run(settings, {**paths, "out": root / "masking"}, RunJournal("test"))
    return root


class Stage:
    """The stage's command line over fixed inputs, in a folder of its own."""

    def __init__(self, inputs: Path, folder: Path) -> None:
        self.inputs, self.folder = inputs, folder
        self.state = folder / "state"

    def command(self, settings=None) -> list[str]:
        file = self.folder / "params.yaml"
        file.write_text(json.dumps({"pretraining": settings or SETTINGS}))
        command = [sys.executable, "-m", "stages.pretraining", "--params", str(file)]
        for name in ("encoding", "masking", "tokenizer"):
            command += [f"--{name}", str(self.inputs / name)]
        return [*command, "--out", str(self.folder / "out")]

    def environment(self, **variables: str) -> dict[str, str]:
        fixed = {"CLOZE_STATE": str(self.state), "CLOZE_WORKERS": "1", "CLOZE_TRACKING": "off"}
        return {**os.environ, **fixed, **variables}

    def run(self, settings=None, **variables: str):
        return self._run(self.command(settings), **variables)

    def run_here(self, settings=None, **variables: str) -> Ended:
        """The same in this process, where nothing depends on it."""
        return run_command(self.command(settings)[3:], self.environment(**variables))

    def finished(self, settings=None, **variables: str) -> "Stage":
        """Itself, once the training has ended well."""
        return self._ended_well(self.run(settings, **variables))

    def finished_here(self, settings=None, **variables: str) -> "Stage":
        """The same in this process."""
        return self._ended_well(self.run_here(settings, **variables))

    def _ended_well(self, result) -> "Stage":
        assert result.returncode == 0, result.stderr
        return self

    def run_module(self, module: str, *words: str, **variables: str):
        """Another command of the stage, in the same environment."""
        return self._run([sys.executable, "-m", module, *words], **variables)

    def _run(self, command: list[str], **variables: str):
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment(**variables),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    @property
    def weights(self) -> dict:
        return load_file(self.folder / "out" / "encoder" / "model.safetensors")

    @property
    def checkpoints(self) -> list[Path]:
        return sorted(self.state.glob("checkpoints/*/step-*"))


@pytest.fixture
def stage(inputs, tmp_path):
    return Stage(inputs, tmp_path)


@pytest.fixture(scope="module")
def uninterrupted(inputs, tmp_path_factory):
    return Stage(inputs, tmp_path_factory.mktemp("uninterrupted")).finished()


def test_the_encoder_loads_with_transformers_and_has_learnt(uninterrupted):
    encoder = uninterrupted.folder / "out" / "encoder"
    model, report = AutoModelForMaskedLM.from_pretrained(encoder, output_loading_info=True)
    assert not report["missing_keys"]
    assert AutoModel.from_pretrained(encoder).config.hidden_size == 32
    assert model.config.vocab_size == VOCAB
    curve = json.loads((uninterrupted.folder / "out" / "curve.json").read_text())
    assert [point["step"] for point in curve] == [10, 20, 30]
    assert curve[-1]["validation_loss"] < curve[0]["validation_loss"]
    facts = read_manifest(uninterrupted.folder / "out", "pretraining")
    assert facts["sequences"] == 240


def test_the_same_settings_give_the_same_bytes(uninterrupted, stage):
    assert stage.run_here().returncode == 0
    assert content_hash(stage.folder / "out") == content_hash(uninterrupted.folder / "out")


def test_sigterm_saves_a_checkpoint_and_the_next_run_goes_on(uninterrupted, stage):
    process = subprocess.Popen(
        stage.command(), cwd=ROOT, env=stage.environment(), stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if "training" in line:
            break
    time.sleep(0.1)
    while process.poll() is None and not list(stage.state.glob("checkpoints/*/lease")):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode in (143, -signal.SIGTERM)
    result = stage.run_here()
    assert result.returncode == 0, result.stderr
    assert content_hash(stage.folder / "out") == content_hash(uninterrupted.folder / "out")


def test_a_damaged_checkpoint_is_reported_and_passed_over(uninterrupted, stage):
    stop = SETTINGS | {"budget": steps(30)}
    assert stage.run_here(stop, CLOZE_CHECKPOINT_INTERVAL_STEPS="10").returncode == 0
    newest = stage.checkpoints[-1]
    damaged = newest / "training.pt"
    damaged.write_bytes(damaged.read_bytes()[:-10] + b"0123456789")
    result = stage.run_here(stop)
    assert "checkpoint passed over" in result.stderr
    assert "resumed step=20" in result.stderr
    assert content_hash(stage.folder / "out") == content_hash(uninterrupted.folder / "out")


def test_other_settings_never_pick_up_these_checkpoints(stage):
    assert stage.run_here(SETTINGS | {"budget": steps(5)}).returncode == 0
    result = stage.run_here(SETTINGS | {"budget": steps(5), "learning_rate": 2e-3})
    assert "resumed" not in result.stderr
    assert len(list(stage.state.glob("checkpoints/*"))) == 2


def test_a_second_trainer_on_the_same_checkpoints_is_refused(stage):
    long = SETTINGS | {"budget": steps(3000)}
    first = subprocess.Popen(
        stage.command(long), cwd=ROOT, env=stage.environment(), stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        leases = list(stage.state.glob("checkpoints/*/lease"))
        if leases and leases[0].read_text():
            break
        time.sleep(0.05)
    second = stage.run_here(long)
    first.terminate()
    first.wait(60)
    assert second.returncode == 3
    assert "another trainer (pid" in second.stderr


def test_examples_of_a_length_that_was_not_made_are_refused(stage):
    phases = [{"max_seq_length": 32, "share_of_budget": 1.0, "global_batch_sequences": 8}]
    result = stage.run_here(SETTINGS | {"phases": phases})
    assert result.returncode == 3
    assert "no examples of length 32; add it to masking.lengths" in result.stderr
    assert not (stage.folder / "out").exists()


def test_a_pinned_start_is_exported_as_it_is_without_a_step(uninterrupted, stage):
    encoder = uninterrupted.folder / "out" / "encoder"
    start = {"checkpoint": str(encoder), "revision": content_hash(encoder)}
    nothing = {"budget": steps(0), "num_warmup_steps": 0}
    result = stage.run_here(SETTINGS | {"start": start} | nothing)
    assert result.returncode == 0, result.stderr
    mine, theirs = stage.weights, uninterrupted.weights
    assert all((mine[name] == theirs[name]).all() for name in theirs)
    assert read_manifest(stage.folder / "out", "pretraining")["steps"] == 0


def test_a_start_that_is_not_the_pinned_one_is_refused(uninterrupted, stage):
    encoder = uninterrupted.folder / "out" / "encoder"
    start = {"checkpoint": str(encoder), "revision": "0" * 40}
    result = stage.run_here(SETTINGS | {"start": start})
    assert result.returncode == 2
    assert "pretraining.start.revision is '0000" in result.stderr
