"""A training that is tracked on a real server: an outage loses nothing and doubles nothing."""

import pytest

from tests.unit.pretraining.outage import survive_outage

OUTAGE_SECONDS = 10.0


@pytest.mark.soak  # ten seconds of it on real services: tests/services/test_mlflow_services.py
def test_every_step_arrives_once_after_an_outage_in_which_the_training_was_killed(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    counted = survive_outage(tmp_path, OUTAGE_SECONDS)
    assert counted["outage_seconds"] >= OUTAGE_SECONDS
    assert counted["steps"] > 20
