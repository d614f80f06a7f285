"""Fixtures shared by all tests: a private state root, no tracking, no network."""

import os
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

import tests.typechecker  # noqa: F401  # --jaxtyping-packages finds it as an attribute of `tests`

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CLOZE_TRACKING", "off")
os.environ.setdefault("CLOZE_WORKERS", "1")  # threads that wait for each other starve on busy cores
os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("project", deadline=None)  # a deadline is a timed test
settings.load_profile("project")


class _ProjectScheduling(LoadScopeScheduling):
    """A module's tests on one worker, and those that share the project of tests/e2e too."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return "tests/e2e" if module.startswith("tests/e2e/") else module


def pytest_configure(config: pytest.Config) -> None:
    """With --jaxtyping-packages, import the large libraries before any module of ours does.

    While jaxtyping imports a module of ours it looks for bytecode under a name of its own, also for
    what that module imports: torch and transformers would be compiled from source in each worker.
    """
    if config.getoption("jaxtyping_packages"):
        import boto3  # noqa: F401
        import transformers.modeling_utils  # noqa: F401


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling | None:
    """With --dist=loadscope alone, as `make test` asks."""
    return _ProjectScheduling(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real data make a test slow. Long tests first, so that no worker is left alone with them."""
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    long = {"e2e", "services"}
    items.sort(key=lambda item: long.isdisjoint(mark.name for mark in item.iter_markers()))


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
