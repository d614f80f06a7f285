"""A long outage of the tracking server."""

import time

import pytest

from tests.soak.facts import number, record
from tests.unit.pretraining.outage import survive_outage

pytestmark = pytest.mark.soak
OUTAGE_SECONDS = number("OUTAGE_SECONDS", 120)


def test_every_step_arrives_once_after_a_long_outage(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    began = time.monotonic()
    counted = survive_outage(tmp_path, OUTAGE_SECONDS)
    minutes = round((time.monotonic() - began) / 60, 1)
    record("outage", "server", counted | {"minutes": minutes})
