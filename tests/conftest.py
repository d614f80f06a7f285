"""Fixtures shared by all tests: a private state root, no tracking, no network."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

import tests.typechecker  # noqa: F401  # --jaxtyping-packages finds it as an attribute of `tests`

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CLOZE_TRACKING", "off")
os.environ.setdefault("CLOZE_WORKERS", "1")  # threads that wait for each other starve on busy cores
os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("project", deadline=None)  # a deadline is a timed test
settings.load_profile("project")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first; a module's on one worker, as all that share the project of tests/e2e."""
    items.sort(
        key=lambda item: not ({"e2e", "services"} & {mark.name for mark in item.iter_markers()})
    )
    for item in items:
        shares = "project" in item.fixturenames and "e2e" in item.keywords
        item.add_marker(pytest.mark.xdist_group("e2e" if shares else item.nodeid.split("::")[0]))


@pytest.fixture(autouse=True)
def private_state(tmp_path_factory, monkeypatch):
    """No test reads or writes the checkout's own state."""
    monkeypatch.setenv("CLOZE_STATE", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real corpora and tasks, or a skip that says what is missing."""
    named = os.environ.get("CLOZE_REAL_DATA")
    if not named:
        pytest.skip("CLOZE_REAL_DATA is not set: real data is not at hand")
    return Path(named).resolve()
