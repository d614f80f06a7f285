"""What Ray's faults become here; the maps themselves run on real nodes, in tests/services."""

from typing import Any

import pytest

from stages.core.errors import SettingsError
from stages.core.parallel import WorkerLostError
from stages.core.ray_tasks import _result, ordered_map_on_ray


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ray's package, connected to nothing."""
    package = pytest.importorskip("ray")
    monkeypatch.setattr(package, "is_initialized", lambda: False)
    return package


def failing(error: Exception) -> Any:
    """A function of Ray's that raises this."""

    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_cluster_of_other_versions_is_refused_with_what_ray_says(
    ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "Version mismatch: The cluster was started with:\n    Ray: 2.1\n    Python: 3.9\n"
    monkeypatch.setattr(ray, "init", failing(RuntimeError(said)))
    expected = (
        r"CLOZE_RAY_ADDRESS is 'head:6379', .* started with: Ray: 2\.1 Python: 3\.9; expected"
    )
    with pytest.raises(SettingsError, match=expected):
        list(ordered_map_on_ray(abs, [1], address="head:6379", workers=1))


@pytest.mark.parametrize("name", ["WorkerCrashedError", "OutOfMemoryError"])
def test_a_task_whose_workers_are_killed_is_named_with_what_to_do(
    ray: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    said = [] if name == "WorkerCrashedError" else ["The node has\nno memory left"]
    monkeypatch.setattr(ray, "get", failing(getattr(ray.exceptions, name)(*said)))
    with pytest.raises(
        WorkerLostError, match=r"want of memory; set CLOZE_WORKERS .*Ray said: The .+"
    ):
        _result(ray, None)
