"""GPUs: as many as are visible, and each to one run alone."""

import pytest

from pipelines.devices import leased_gpus, runs_at_once, visible_gpus
from stages.core.errors import LeaseError, SettingsError


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "CLOZE_GPUS", "CLOZE_PROCESSES"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"CLOZE_GPUS": "2"}, ["0", "1"]),
        ({"CLOZE_GPUS": "4", "CUDA_VISIBLE_DEVICES": "2, GPU-8f"}, ["2", "GPU-8f"]),
        ({"CLOZE_GPUS": "4", "CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CLOZE_GPUS": "4", "CUDA_VISIBLE_DEVICES": "-1"}, []),
        ({"CLOZE_GPUS": "4", "CUDA_VISIBLE_DEVICES": "1,-1,2"}, ["1"]),
        ({"CLOZE_GPUS": "0"}, []),
    ],
)
def test_visible_gpus_are_those_that_the_environment_leaves(monkeypatch, variables, found):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert visible_gpus() == found


def test_a_number_of_gpus_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("CLOZE_GPUS", "all")
    with pytest.raises(SettingsError, match="CLOZE_GPUS is 'all', expected a number of GPUs"):
        visible_gpus()


def test_two_runs_get_different_gpus_and_a_third_none(monkeypatch):
    monkeypatch.setenv("CLOZE_GPUS", "2")
    with leased_gpus("local") as one, leased_gpus("local") as other:
        assert one.environment == {"CUDA_VISIBLE_DEVICES": "0"}
        assert other.environment == {"CUDA_VISIBLE_DEVICES": "1"}
        assert len(one.descriptors) == 1
        refused = pytest.raises(LeaseError, match="0 of 2 GPUs are free, but the run takes 1")
        with refused, leased_gpus("local"):
            pass
    with leased_gpus("local") as again:
        assert again.environment == {"CUDA_VISIBLE_DEVICES": "0"}


def test_a_run_of_several_ranks_takes_a_gpu_for_each(monkeypatch):
    monkeypatch.setenv("CLOZE_GPUS", "5")
    monkeypatch.setenv("CLOZE_PROCESSES", "2")
    assert runs_at_once() == 2
    with leased_gpus("local") as one:
        assert one.environment == {"CUDA_VISIBLE_DEVICES": "0,1"}


def test_training_that_goes_elsewhere_takes_no_gpu_here(monkeypatch):
    monkeypatch.setenv("CLOZE_GPUS", "1")
    with leased_gpus("slurm") as none:
        assert (none.descriptors, none.environment) == ((), {})
