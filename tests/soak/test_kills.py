"""A training that is killed again and again ends with the uninterrupted one's bytes."""

import os
import random
import signal
import subprocess
import time

import pytest

from stages.core.artifacts import content_hash
from tests.conformance.batches import OBJECTIVES
from tests.golden.curves import write_artefacts
from tests.unit.pretraining.test_objectives_run import settings_of
from tests.unit.pretraining.test_run import ROOT, Stage, steps

pytestmark = pytest.mark.soak
NUM_KILLS = 25
EVERY_STEP = {"CLOZE_CHECKPOINT_INTERVAL_STEPS": "7"}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_twenty_five_kills_change_no_byte(name, tmp_path):
    write_artefacts(tmp_path, name)
    settings = settings_of(name, budget=steps(400))
    folders = [tmp_path / "uninterrupted", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    expected, killed = (Stage(tmp_path, folder) for folder in folders)
    assert expected.run(settings, **EVERY_STEP).returncode == 0
    draw = random.Random(name)
    for _ in range(NUM_KILLS):
        process = subprocess.Popen(
            killed.command(settings),
            cwd=ROOT,
            env=killed.environment(**EVERY_STEP),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(draw.uniform(0.5, 12))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    result = killed.run(settings, **EVERY_STEP)
    assert result.returncode == 0, result.stderr
    assert content_hash(folders[1] / "out") == content_hash(folders[0] / "out")
