"""The training loop's guards: non-finite gradients, batches built ahead, and where time goes."""

import threading

import pytest
import torch

from stages.pretraining.batches import Batch
from stages.pretraining.budget import Spent
from stages.pretraining.clock import PARTS, Clock, peak_flops
from stages.pretraining.objective import Work
from stages.pretraining.prefetch import Prefetch
from stages.pretraining.trainer import DivergedTrainingError
from tests.golden.curves import trainer_of, write_artefacts

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory):
    root = tmp_path_factory.mktemp("trainer")
    write_artefacts(root, "roberta")
    return root


@pytest.fixture
def trainer(artefacts):
    made = trainer_of(artefacts, "roberta")
    yield made
    made.prefetch.stop()


def spoil(trainer):
    """Make every gradient of the next update infinite."""
    weight = trainer.objective.encoder.lm_head.bias
    return weight.register_hook(lambda gradient: gradient * torch.inf)


def test_an_update_without_a_finite_gradient_changes_nothing_and_is_counted(trainer):
    trainer.update()
    before = [weight.detach().clone() for weight in trainer.objective.parameters()]
    sums = dict(trainer._since_evaluated.values)
    hook = spoil(trainer)
    trainer.update()
    hook.remove()
    after = trainer.objective.parameters()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert trainer.num_skipped == 1
    assert trainer.step == 2
    assert trainer._since_evaluated.values == sums
    trainer.update()
    assert trainer.num_skipped == 1
    assert not torch.equal(before[0], next(iter(trainer.objective.parameters())))


def test_several_in_a_row_stop_the_training_and_hand_out_the_batch(trainer):
    spoil(trainer)
    for _ in range(4):
        trainer.update()
    with pytest.raises(DivergedTrainingError, match="no finite gradient in 5 updates") as caught:
        trainer.update()
    assert trainer.step == 4
    assert caught.value.batches[0].inputs["input_ids"].ndim == 1
    assert "learning_rate" in str(caught.value)


def test_the_number_of_skipped_updates_is_part_of_the_state(trainer, artefacts):
    hook = spoil(trainer)
    trainer.update()
    hook.remove()
    other = trainer_of(artefacts, "roberta")
    other.resume(trainer.state())
    assert other.num_skipped == 1


def test_batches_are_built_ahead_and_dropped_when_another_step_is_asked_for():
    built, threads = [], set()

    def build(phase, step):
        built.append((phase, step))
        threads.add(threading.current_thread() is threading.main_thread())
        return [Batch({"place": (phase, step)}, Work())]

    prefetch = Prefetch(build)
    for place in ((0, 0), (0, 1), (1, 0), (1, 1)):
        (batch,) = prefetch.take(*place)
        assert batch.inputs["place"] == place
    prefetch.stop()
    assert built.count((0, 1)) == built.count((1, 1)) == 1
    assert threads == {True, False}


def test_an_error_while_building_ahead_reaches_the_training():
    def build(_phase, step):
        if step:
            raise ValueError("a shard is unreadable")
        return []

    prefetch = Prefetch(build)
    prefetch.take(0, 0)
    with pytest.raises(ValueError, match="unreadable"):
        prefetch.take(0, 1)
    prefetch.stop()


def test_time_is_split_into_shares_of_the_interval(monkeypatch):
    now = iter([0.0, 1.0, 4.0, 10.0, 10.0])
    clock = Clock(CPU, torch.float32)
    clock.peak_flops = 100.0
    monkeypatch.setattr("stages.pretraining.clock.time.monotonic", lambda: next(now))
    clock.start(Spent(tokens=100, flops=1000.0))
    with clock.part("forward"):
        pass
    numbers = clock.report(Spent(tokens=300, flops=1500.0))
    assert numbers["time_forward_fraction"] == 0.3
    assert numbers["tokens_per_second"] == 20.0
    assert numbers["model_flops_utilization"] == pytest.approx(0.5)
    assert numbers["peak_memory_gib"] > 0.05
    assert {f"time_{part}_fraction" for part in PARTS} <= set(numbers)


def test_the_peak_leaves_torchs_generator_alone():
    before = torch.get_rng_state()
    assert peak_flops(CPU, torch.float32) > 1e9
    assert torch.equal(before, torch.get_rng_state())
