"""Pre-training as a TrainJob and as a JobSet through the launcher's own kubectl calls.

The cluster is a stand-in that runs pods as processes of this host (`kubectl.py`): it shows that the
launcher and the pods' program fit each other, not that a real cluster accepts what is sent.
"""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.golden.curves import write_artefacts
from tests.unit.pretraining.attempts import Attempt
from tests.unit.pretraining.test_objectives_run import settings_of
from tests.unit.pretraining.test_run import Stage, steps

pytestmark = [pytest.mark.services, pytest.mark.soak]
SETTINGS = settings_of("bert", budget=steps(60))
PODS = {
    "CLOZE_LAUNCHER": "kubernetes",
    "CLOZE_NODES": "2",
    "CLOZE_POLL_SECONDS": "0.2",
    "CLOZE_CHECKPOINT_INTERVAL_STEPS": "5",
    "CLOZE_LOG_INTERVAL_STEPS": "1",
    "CLOZE_KUBERNETES_IMAGE": "stand-in",
    "CLOZE_KUBERNETES_CLAIM": "stand-in",
    "CLOZE_KUBERNETES_MOUNT": "/",
}


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory):
    root = tmp_path_factory.mktemp("artefacts")
    write_artefacts(root, "bert")
    return root


@pytest.fixture
def begin(artefacts, tmp_path):
    """Starts the stage with pods; `kind` is the object that is sent."""
    stage, objects, attempts = Stage(artefacts, tmp_path), tmp_path / "cluster", []
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    objects.mkdir()
    stand_in = Path(__file__).with_name("kubectl.py")
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {stand_in} "$@"\n')
    program.chmod(0o755)
    variables = {**PODS, "KUBECTL_FOLDER": str(objects)}
    variables["PATH"] = f"{program.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"

    def start(kind):
        attempts.append(Attempt(stage, SETTINGS, CLOZE_KUBERNETES_KIND=kind, **variables))
        return attempts[-1]

    yield start
    for attempt in attempts:
        attempt.kill()
    for path in objects.glob("*.pid"):
        if not path.with_suffix(".code").exists():
            os.kill(int(path.read_text()), signal.SIGKILL)


def test_a_train_job_is_attached_to_and_cancelled_and_a_job_set_goes_on(begin, tmp_path):
    first = begin("TrainJob")
    assert first.wait_for_checkpoint(), first.text[-3000:]
    first.kill()
    second = begin("TrainJob")
    assert second.wait_until(lambda: "attached job=" in second.text), second.text[-3000:]
    second.process.terminate()
    assert second.finish() == 143, second.text[-3000:]
    assert not list((tmp_path / "cluster").glob("*.json"))
    newest = int(second.stage.checkpoints[-1].name.removeprefix("step-"))
    third = begin("JobSet")
    assert third.finish() == 0, third.text[-3000:]
    assert f"resumed step={newest} " in third.text
    assert (tmp_path / "out" / "encoder" / "model.safetensors").is_file()
