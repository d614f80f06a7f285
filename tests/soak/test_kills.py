"""A training that is killed again and again ends with the uninterrupted one's bytes."""

import random
import time
from collections import Counter

import pytest

from stages.core.artifacts import content_hash
from tests.conformance.batches import OBJECTIVES
from tests.golden.curves import write_artefacts
from tests.soak.facts import number, record
from tests.unit.pretraining.attempts import Attempt
from tests.unit.pretraining.test_objectives_run import settings_of
from tests.unit.pretraining.test_run import Stage, steps

pytestmark = pytest.mark.soak
NUM_KILLS = number("KILLS", 25)  # of each objective
NUM_STEPS = 60 * NUM_KILLS + 100  # an attempt is killed within 40 logged steps and a fraction
OFTEN = {"CLOZE_CHECKPOINT_INTERVAL_STEPS": "7", "CLOZE_LOG_INTERVAL_STEPS": "1"}
# Of ten: five between or in updates, four while a checkpoint is written, one before training.
MOMENTS = ("training", "writing") * 4 + ("starting", "training")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_kills_change_no_byte(name, tmp_path):
    began = time.monotonic()
    write_artefacts(tmp_path, name)
    settings = settings_of(name, budget=steps(NUM_STEPS), eval_interval_steps=50)
    folders = [tmp_path / "uninterrupted", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    expected, killed = (Stage(tmp_path, folder) for folder in folders)
    assert expected.run(settings).returncode == 0
    draw, landed, starts = random.Random(name), Counter(), 0
    while landed.total() < NUM_KILLS:
        moment = MOMENTS[landed.total() % len(MOMENTS)]
        attempt = Attempt(killed, settings, **OFTEN)
        landed[moment] += attempt.kill_while(moment, draw)
        starts += 1
        assert not (folders[1] / "out").exists(), "the training ended before all kills had hit"
    result = killed.run(settings, **OFTEN)
    assert result.returncode == 0, result.stderr
    hashes = [content_hash(folder / "out") for folder in folders]
    facts = {moment: landed[moment] for moment in MOMENTS}
    facts |= {"starts": starts, "is_identical": hashes[0] == hashes[1], "hash": hashes[1]}
    record("kills", name, facts | {"minutes": round((time.monotonic() - began) / 60, 1)})
    assert hashes[0] == hashes[1]
