"""Ranks that are killed again and again in one training are started again every time."""

import os
import signal
import time

import pytest

from tests.golden.curves import write_artefacts
from tests.soak.facts import number, record
from tests.unit.pretraining.attempts import Attempt
from tests.unit.pretraining.test_objectives_run import settings_of
from tests.unit.pretraining.test_run import Stage, steps

pytestmark = pytest.mark.soak
NUM_KILLS = number("RESTARTS", 10)
OFTEN = {"CLOZE_CHECKPOINT_INTERVAL_STEPS": "5", "CLOZE_LOG_INTERVAL_STEPS": "1"}


def test_every_killed_rank_is_started_again(tmp_path):
    began = time.monotonic()
    write_artefacts(tmp_path, "bert")
    settings = settings_of("bert", budget=steps(60 * NUM_KILLS), learning_rate=1e-4)
    folders = [tmp_path / "quiet", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    quiet, killed = (Stage(tmp_path, folder) for folder in folders)
    assert quiet.run(settings, CLOZE_PROCESSES="2").returncode == 0
    attempt = Attempt(killed, settings, CLOZE_PROCESSES="2", **OFTEN)
    assert attempt.wait_for_checkpoint(), attempt.text[-3000:]
    seconds = []
    for kill in range(NUM_KILLS):
        os.kill(attempt.ranks()[kill % 2], signal.SIGKILL)
        hit = time.monotonic()
        assert attempt.wait_for_checkpoint(), attempt.text[-3000:]
        seconds.append(time.monotonic() - hit)
    assert attempt.finish() == 0, attempt.text[-3000:]
    assert attempt.text.count("resumed step=") == NUM_KILLS
    difference = max(
        float((weight - quiet.weights[name]).abs().max()) for name, weight in killed.weights.items()
    )
    facts = {
        "killed": NUM_KILLS,
        "restarted": len(seconds),
        "slowest_seconds": round(max(seconds), 1),
        "largest_difference": difference,
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    record("restarts", "two ranks", facts)
    assert difference < 1e-4
