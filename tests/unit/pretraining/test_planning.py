"""The stage's planning command: JSON on standard output, and exit codes of the stages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core.errors import ArtifactError
from stages.core.settings import read_yaml
from stages.pretraining.estimates import read_given
from stages.pretraining.machines import named_machine
from tests.conformance.batches import ELECTRA, WIDTH, params_of
from tests.golden.curves import MASKING, MASKS, write_artefacts

ROOT = Path(__file__).resolve().parents[3]


def settings_file(folder, name):
    """A params.yaml for the artefacts of the golden curves."""
    values = read_yaml(ROOT / "params.yaml")
    params = params_of(name).model_dump(mode="json", exclude_none=True)
    params |= {"electra": ELECTRA} if name == "electra" else {}
    values |= {"pretraining": params, "masking": MASKING | {"span": None} | MASKS[name]}
    (folder / "params.yaml").write_text(json.dumps(values))
    return folder / "params.yaml"


def plan(folder, name, *words):
    """Run the command."""
    command = [sys.executable, "-m", "stages.pretraining.planning", *words]
    return subprocess.run(
        [*command, "--params", str(settings_file(folder, name))],
        cwd=ROOT,
        env={**os.environ, "CLOZE_WORKERS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_wrong_machine_is_refused_before_anything_is_loaded(tmp_path):
    result = plan(tmp_path, "bert", "--machine", "b9000")
    assert result.returncode == 2
    assert "expected one of a10, a100-40" in result.stderr


@pytest.mark.slow
def test_the_real_examples_are_measured_on_this_machine(tmp_path):
    name = "electra"  # of which two models are trained
    write_artefacts(tmp_path, name)
    words = [f"--{key}={tmp_path / key}" for key in ("encoding", "masking", "tokenizer")]
    result = plan(tmp_path, name, *words)
    assert result.returncode == 0, result.stderr
    made = json.loads(result.stdout)
    (phase,) = made["phases"]
    assert made["is_measured"]
    assert made["memory"]["fits"]
    assert 5 < phase["tokens_per_sequence"] < WIDTH
    assert phase["epochs"] > 0
    assert phase["tokens_per_second"] > 100
    assert made["evaluation_minutes"] > 0
    assert not any("assumed" in note for note in made["notes"])


def test_a_damaged_artefact_is_a_bad_input(tmp_path):
    write_artefacts(tmp_path, "bert")
    (tmp_path / "masking" / "manifest.json").write_text("{}")
    paths = {key: tmp_path / key for key in ("encoding", "masking", "tokenizer")}
    with pytest.raises(ArtifactError, match="expected an artefact of 'masking'") as caught:
        read_given(settings_file(tmp_path, "bert"), named_machine("l4"), paths)
    assert caught.value.exit_code == 3
