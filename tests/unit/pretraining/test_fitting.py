"""What does not fit is said, and what is advised instead does."""

import re
from dataclasses import replace

import pytest

from stages.core.execution import read_execution
from stages.pretraining.fitting import Room, Stretch, Training, advice, largest_micro_batch
from stages.pretraining.machines import MACHINES, named_machine
from stages.pretraining.memory import Setting
from stages.pretraining.objective import Vocabulary, Work
from stages.pretraining.outline import empty_objective
from tests.builders import SPECIAL_TOKEN_IDS
from tests.conformance.batches import params_of

GIB = 2**30
LARGE = {
    "size": "large",
    "overrides": {},
    "hidden_dropout_probability": 0.1,
    "attention_dropout_probability": 0.1,
}
L4 = named_machine("l4")
# One full sequence of 512 tokens, as BERT masks it.
FULL = Work(1, 512, 512**2, masked=77, read=78, read_lengths=78 * 512)


@pytest.fixture
def training(monkeypatch):
    """BERT-large in float32, 256 sequences of 512 tokens an update, 64 at once."""
    for name in ("PROCESSES", "MICRO_BATCH_SEQUENCES", "SHARD_OPTIMIZER"):
        monkeypatch.delenv(f"CLOZE_{name}", raising=False)
    objective = empty_objective(
        params_of("bert", model=LARGE), Vocabulary(30528, SPECIAL_TOKEN_IDS)
    )
    stretch = Stretch(256, FULL)
    return Training(objective, [stretch], Setting("cuda", 4, 0.1, 0.1), read_execution())


@pytest.fixture
def room():
    return Room(L4.memory_bytes, GIB)


def test_the_largest_micro_batch_fits_and_one_more_does_not(training, room):
    largest = largest_micro_batch(training, room)
    assert 1 < largest < 64
    assert room.holds(training.with_execution(micro_batch_sequences=largest))
    wider = replace(training, stretches=[Stretch(largest + 1, FULL)])
    assert not room.holds(wider.with_execution(micro_batch_sequences=largest + 1))


def test_a_smaller_micro_batch_more_devices_and_roomier_ones_are_advised_and_fit(training, room):
    assert not room.holds(training)
    lines = list(advice(training, room, L4))
    found = re.search(r"CLOZE_MICRO_BATCH_SEQUENCES=(\d+), .* in (\d+) passes", lines[0])
    number, passes = int(found[1]), int(found[2])
    assert number * passes == 256
    assert room.holds(training.with_execution(micro_batch_sequences=number))
    processes = int(re.search(r"CLOZE_PROCESSES=(\d+) with a device each", lines[1])[1])
    assert room.holds(training.with_execution(processes=processes))
    names = lines[-1].removeprefix("fits: as it is, on ").split(", ")
    assert set(names) >= {"h200", "a100-80"}
    assert all(Room(MACHINES[name].memory_bytes, GIB).holds(training) for name in names)


def test_bfloat16_is_advised_where_it_fits_and_the_device_has_it(training, room):
    smaller = training.with_execution(micro_batch_sequences=24)
    assert not room.holds(smaller)
    assert any("precision=bfloat16" in line for line in advice(smaller, room, L4))
    old = replace(named_machine("t4"), memory_bytes=L4.memory_bytes)
    assert not any("bfloat16" in line for line in advice(smaller, room, old))


def test_what_no_micro_batch_makes_fit_is_said_with_the_optimiser_sharded(training):
    little = Room(6 * GIB, GIB)
    assert largest_micro_batch(training, little) == 0
    lines = list(advice(training, little, replace(L4, memory_bytes=6 * GIB)))
    assert "no micro-batch fits: weights, gradients and optimiser alone take 5.0 GiB" in lines[-1]
    assert not any("MICRO_BATCH" in line for line in lines)


def test_a_share_is_cut_into_equal_passes(training):
    stretch = Stretch(96, FULL)
    assert training.with_execution(micro_batch_sequences=64).micro_batch(stretch) == 48
    assert training.with_execution(processes=2, micro_batch_sequences=64).micro_batch(stretch) == 48
    assert training.with_execution(processes=8, micro_batch_sequences=64).micro_batch(stretch) == 12
