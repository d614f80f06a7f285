"""A GPU node with the extra `node` alone: masking, pre-training and fine-tuning really run there.

Every process, the trainers' children too, is started with a `sitecustomize` that hides all other
packages. The journal is then shipped to MLflow by a machine that has it.
"""

import json
import os
import subprocess
import sys

import pytest

from stages.core.artifacts import read_json, write_manifest
from stages.core.tracking.store import connect
from tests.architecture.test_extras import HOOK, ROOT, hidden_packages
from tests.builders import SPECIAL_TOKEN_IDS, random_documents, write_encoding
from tests.golden.curves import MASKING
from tests.unit.finetuning.builders import section, write_start, write_task
from tests.unit.pretraining.test_objectives_run import settings_of
from tests.unit.pretraining.test_run import steps

# That the stages import there is in `make test`: tests/architecture/test_extras.py.
pytestmark = [pytest.mark.e2e, pytest.mark.soak]
VOCAB = 65  # of the tokenizer that write_start makes
HIDE = f"""
import json, pathlib, sys
hidden = set(json.loads((pathlib.Path(__file__).parent / "hidden.json").read_text()))
{HOOK}
"""
TRAINING = settings_of("bert", budget=steps(12)) | {
    "phases": [{"max_seq_length": 32, "share_of_budget": 1.0, "global_batch_sequences": 8}]
}
PARAMS = {
    "masking": MASKING
    | {"examples": "segment-pairs", "masks": "static", "unit": "token"}
    | {"lengths": [{"max_seq_length": 32, "max_predictions_per_sequence": 5}]},
    "pretraining": TRAINING,
    "finetuning": section(seeds=(1,), num_epochs=1, start="pretraining/encoder"),
}


@pytest.fixture
def node(tmp_path):
    """Inputs, settings, and the hook that hides packages."""
    documents = {
        "train": random_documents(0, 30, VOCAB),
        "validation": random_documents(1, 6, VOCAB),
    }
    write_encoding(tmp_path / "encoding", documents, VOCAB)
    write_start(tmp_path / "tokenizer")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "tokenizer" / name).unlink()
    facts = {"vocab_size": VOCAB, "special_token_ids": SPECIAL_TOKEN_IDS}
    write_manifest(tmp_path / "tokenizer", "tokenizer", facts)
    write_task(tmp_path / "task")
    (tmp_path / "params.yaml").write_text(json.dumps(PARAMS))
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HIDE)
    (hook / "hidden.json").write_text(json.dumps(hidden_packages()))
    return tmp_path


def run(node, *command, is_bare=True):
    environment = {**os.environ, "CLOZE_STATE": str(node / "state")}
    environment.pop("CLOZE_TRACKING", None)
    environment |= {"PYTHONPATH": str(node / "hook")} if is_bare else {}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def run_stage(node, *words, inputs, out):
    command = ["-m", *words, "--params", str(node / "params.yaml"), "--out", str(node / out)]
    for name, place in inputs.items():
        command += [f"--{name}", str(node / place)]
    result = run(node, *command)
    assert result.returncode == 0, result.stderr


def test_a_node_trains_with_its_extra_alone_and_mlflow_is_told_later(node, monkeypatch):
    for package in ("mlflow", "pandas", "datasets"):
        assert f"No module named '{package}'" in run(node, "-c", f"import {package}").stderr
    artefacts = {name: name for name in ("encoding", "tokenizer")}
    run_stage(node, "stages.masking", inputs=artefacts, out="masking")
    inputs = artefacts | {"masking": "masking"}
    run_stage(node, "stages.pretraining", inputs=inputs, out="pretraining")
    inputs = {"start": "pretraining/encoder", "task": "task"}
    run_stage(node, "stages.finetuning", "toy", inputs=inputs, out="finetuned")
    assert read_json(node / "finetuned" / "metrics.json")["task"] == "toy"
    assert not (node / "state" / "mlflow").exists()
    assert not (node / "state" / "journal" / "shipper.log").exists()

    replayed = run(node, "-m", "pipelines", "replay", is_bare=False)
    assert replayed.returncode == 0, replayed.stderr
    monkeypatch.setenv("CLOZE_STATE", str(node / "state"))
    store = connect()
    runs = {r.info.run_name: r for r in store.client.search_runs([store.experiment_id])}
    assert set(runs) == {"masking", "pretraining", "finetuning@toy"}
    assert {r.info.status for r in runs.values()} == {"FINISHED"}
    history = store.client.get_metric_history(runs["pretraining"].info.run_id, "loss")
    assert [point.step for point in history] == [12]
