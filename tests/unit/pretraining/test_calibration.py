"""Calibration: what is tried, how it is scaled, and that it tells about this machine."""

import pytest

from stages.core.execution import read_execution
from stages.pretraining import calibration
from stages.pretraining.calibration import Share, Trial, calibrate, product_speed
from stages.pretraining.objective import Vocabulary
from stages.pretraining.workload import made_up_workload, scaled
from tests.builders import SPECIAL_TOKEN_IDS
from tests.conformance.batches import OBJECTIVES, VOCAB, WIDTH, params_of
from tests.golden.curves import MASKING, MASKS

VOCABULARY = Vocabulary(VOCAB, SPECIAL_TOKEN_IDS)


def calibrated(name, reached=1e15, **changes):
    params = params_of(name, **changes)
    masking = MASKING | {"span": None} | MASKS[name]
    load = made_up_workload(params, WIDTH, VOCABULARY, masking)
    sequences = params.phases[0].global_batch_sequences
    share = Share(params.phases[0], sequences, scaled(load.work, sequences))
    return calibrate(
        params,
        share,
        load.examples,
        VOCABULARY,
        read_execution(),
        reached=reached,
        seconds=0.2,
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_update_of_every_objective_is_measured_on_made_up_sequences(name):
    speed = calibrated(name)
    assert 0 < speed.seconds < 10
    assert speed.num_updates >= 3
    assert speed.trial == Trial(layers=2, sequences=8)
    assert not speed.is_scaled


def test_what_takes_too_long_is_measured_smaller_and_scaled_by_flops():
    model = params_of("bert").model.model_dump()
    model["overrides"]["num_hidden_layers"] = 8
    assert calibrated("bert", model=model).trial == Trial(layers=8, sequences=8)
    part = calibrated("bert", model=model, reached=1.5e7)
    assert part.is_scaled
    assert part.trial == Trial(layers=2, sequences=1)
    assert part.seconds > 0


def test_where_even_one_sequence_takes_too_long_a_products_speed_is_all_there_is():
    speed = calibrated("bert", reached=1e6)
    assert speed.trial is None
    assert speed.num_updates == 0
    assert speed.seconds > 1


def test_a_products_speed_is_that_of_this_machine():
    assert product_speed("float32") > 1e8
    assert product_speed("bfloat16") > 1e7


def test_trials_shrink_the_accumulation_first_then_the_batch_then_the_depth():
    trials = list(calibration._trials(Trial(12, 256), 64))
    assert trials[:5] == [
        Trial(12, 256),
        Trial(12, 64),
        Trial(12, 32),
        Trial(12, 16),
        Trial(12, 8),
    ]
    assert trials[-1] == Trial(2, 1)
    sizes = [trial.layers * trial.sequences for trial in trials]
    assert sizes == sorted(sizes, reverse=True)
