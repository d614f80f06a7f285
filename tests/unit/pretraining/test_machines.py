"""Machines to plan for: names, numbers, and what is available here."""

import pytest

from stages.core.errors import SettingsError
from stages.pretraining import machines
from stages.pretraining.machines import MACHINES, available_bytes, named_machine, this_machine


def test_a_name_that_is_not_known_lists_those_that_are():
    with pytest.raises(SettingsError, match=r"--machine 'h10': expected one of a10, .*l4.*'h100'"):
        named_machine("h10")


@pytest.mark.parametrize("name", MACHINES)
def test_a_named_machine_says_its_memory_and_its_peaks(name):
    machine = named_machine(name)
    assert machine.device_type == "cuda"
    assert 10 * 2**30 < machine.memory_bytes < 200 * 2**30
    assert 1e12 < machine.peaks["float32"] < machine.peaks.get("bfloat16", 1e15) <= 1e15


def test_chips_older_than_ampere_have_no_bfloat16():
    assert {name for name in MACHINES if "bfloat16" not in MACHINES[name].peaks} == {
        "t4",
        "v100-16",
        "v100-32",
    }


def test_this_machine_is_measured_and_has_memory():
    machine = this_machine()
    assert machine.peaks is None
    assert machine.name.startswith("this machine, ")
    assert machine.memory_bytes > 2**26


def test_a_containers_limit_counts_where_it_is_lower(tmp_path, monkeypatch):
    meminfo, limit, usage = tmp_path / "meminfo", tmp_path / "max", tmp_path / "current"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    limit.write_text("5000\n")
    usage.write_text("1000\n")
    monkeypatch.setattr(machines, "_MEMORY_FILE", meminfo)
    monkeypatch.setattr(machines, "_GROUP_FILES", ((limit, usage),))
    assert available_bytes() == 4000
    limit.write_text("max\n")
    assert available_bytes() == 8000 * 1024
