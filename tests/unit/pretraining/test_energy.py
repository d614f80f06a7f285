"""Energy: package counters are summed, begin again at their range, and may be missing."""

import pytest

from stages.pretraining.energy import Counter, EnergyMeter, processor_counters


def package(powercap, name, joules, wraps_at=100.0):
    folder = powercap / name
    folder.mkdir(exist_ok=True)
    (folder / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    (folder / "max_energy_range_uj").write_text(f"{round(wraps_at * 1e6)}\n")


def test_packages_are_summed_and_their_parts_are_not_counted_twice(tmp_path):
    package(tmp_path, "intel-rapl:0", 10)
    package(tmp_path, "intel-rapl:1", 20)
    package(tmp_path, "intel-rapl:0:0", 5)
    meter = EnergyMeter(list(processor_counters(tmp_path)))
    package(tmp_path, "intel-rapl:0", 13)
    package(tmp_path, "intel-rapl:1", 24)
    package(tmp_path, "intel-rapl:0:0", 7)
    assert meter.since_last() == pytest.approx(7)
    assert meter.since_last() == 0


def test_a_counter_that_began_again_is_counted_on(tmp_path):
    package(tmp_path, "intel-rapl:0", 98)
    meter = EnergyMeter(list(processor_counters(tmp_path)))
    package(tmp_path, "intel-rapl:0", 3)
    assert meter.since_last() == pytest.approx(5)


def test_a_machine_that_tells_nothing_gives_nothing(tmp_path):
    assert EnergyMeter(list(processor_counters(tmp_path / "missing"))).since_last() == 0


def test_a_counter_that_cannot_be_read_is_left_out():
    values = iter([1.0, None, 5.0, 7.0])
    meter = EnergyMeter([Counter(lambda: next(values), wraps_at=100.0)])
    assert [meter.since_last() for _ in range(3)] == [0, 0, 2.0]
