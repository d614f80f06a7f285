"""Estimates of a training: the FLOPs that it books, units that agree, and what is assumed."""

from dataclasses import replace

import numpy as np
import pytest

from stages.core.errors import SettingsError
from stages.core.execution import read_execution
from stages.pretraining.amounts import update_amounts
from stages.pretraining.batches import global_batch
from stages.pretraining.estimates import Given, make_plan, read_given
from stages.pretraining.machines import ASSUMED_UTILIZATION, named_machine
from stages.pretraining.objective import Vocabulary
from stages.pretraining.outline import empty_objective
from stages.pretraining.workload import made_up_workload, real_workload, sampled_work
from tests.builders import SPECIAL_TOKEN_IDS
from tests.conformance.batches import OBJECTIVES, VOCAB, WIDTH, params_of
from tests.golden.curves import MASKING, MASKS, trainer_of, write_artefacts

A100 = named_machine("a100-80")
VOCABULARY = Vocabulary(VOCAB, SPECIAL_TOKEN_IDS)
PHASES = [
    {"max_seq_length": 16, "share_of_budget": 0.9, "global_batch_sequences": 8},
    {"max_seq_length": 24, "share_of_budget": 0.1, "global_batch_sequences": 8},
]


def masking_of(name):
    return MASKING | {"span": None} | MASKS[name]


def given_for(name, machine=A100, **changes):
    params = params_of(name, **changes)
    lengths = [phase.max_seq_length for phase in params.phases]
    masking = masking_of(name)
    masking["lengths"] = [
        {"max_seq_length": length, "max_predictions_per_sequence": 5} for length in lengths
    ]
    loads = [made_up_workload(params, length, VOCABULARY, masking) for length in lengths]
    return Given(params, VOCABULARY, read_execution(), machine, loads, None)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_flops_are_those_that_training_books_for_the_same_batch(name, tmp_path):
    write_artefacts(tmp_path, name)
    trainer = trainer_of(tmp_path, name)
    params, examples = trainer.params, trainer.examples["train", WIDTH]
    phase = params.phases[0]
    drawn = global_batch(
        len(examples.index), 0, phase.global_batch_sequences, seed=params.seed, phase=0
    )
    trainer.update()
    trainer.prefetch.stop()
    empty = empty_objective(params, VOCABULARY)
    work = examples.batch(drawn).work
    assert empty.flops(work) == trainer.ledger.spent.flops
    load = real_workload(params, WIDTH, {key: tmp_path / key for key in ("encoding", "masking")})
    same = replace(load, work=work)
    assert update_amounts(empty, phase, same, 1.0).flops == trainer.ledger.spent.flops
    assert update_amounts(empty, phase, same, 1.0).tokens == trainer.ledger.spent.tokens


@pytest.mark.parametrize("name", OBJECTIVES)
def test_few_real_examples_are_counted_one_by_one(name, tmp_path):
    write_artefacts(tmp_path, name)
    paths = {key: tmp_path / key for key in ("encoding", "masking")}
    load = real_workload(params_of(name), WIDTH, paths)
    assert load.num_examples == len(load.examples.index) == load.work.sequences
    whole = sampled_work(load.examples, np.arange(load.num_examples))
    assert load.work == whole
    assert load.work.tokens <= WIDTH * load.num_examples


@pytest.mark.parametrize("name", OBJECTIVES)
def test_made_up_sequences_are_full_and_masked_as_the_section_says(name):
    work = made_up_workload(params_of(name), WIDTH, VOCABULARY, masking_of(name)).work
    assert work.tokens == WIDTH * work.sequences
    assert work.squared_lengths == WIDTH**2 * work.sequences
    assert work.masked == round(0.15 * WIDTH) * work.sequences
    assert (work.boundaries > 0) or name != "spanbert"


def test_a_length_that_masking_does_not_make_is_refused():
    with pytest.raises(SettingsError, match=r"max_seq_length 99, expected one of masking.lengths"):
        made_up_workload(params_of("bert"), 99, VOCABULARY, masking_of("bert"))


def test_what_one_unit_makes_of_another_comes_back_the_same():
    first = make_plan(given_for("bert", phases=PHASES, budget={"unit": "steps", "amount": 1000}))
    for unit in ("tokens", "flops", "minutes"):
        phases = [
            PHASES[place] | {"share_of_budget": first["phases"][place][unit] / first["total"][unit]}
            for place in (0, 1)
        ]
        budget = {"unit": unit, "amount": first["total"][unit]}
        again = make_plan(given_for("bert", phases=phases, budget=budget))
        assert again["total"] == pytest.approx(first["total"], rel=2e-3)


def test_a_named_machines_time_is_its_peak_at_the_assumed_utilization(monkeypatch):
    monkeypatch.setenv("CLOZE_PROCESSES", "4")
    plan = make_plan(given_for("bert"))
    expected = plan["total"]["flops"] / (4 * 19.5e12 * ASSUMED_UTILIZATION)
    assert plan["total"]["minutes"] * 60 == pytest.approx(expected)
    assert plan["processes"] == 4
    assert any("assumption, no measurement: 40%" in note for note in plan["notes"])


def test_a_precision_that_a_machine_lacks_is_refused():
    given = given_for("bert", machine=named_machine("t4"), precision="bfloat16")
    with pytest.raises(SettingsError, match=r"t4 has no units .*precision=float32"):
        make_plan(given)


def test_full_sequences_and_a_warm_up_without_end_are_said():
    plan = make_plan(given_for("bert", budget={"unit": "tokens", "amount": 300}))
    assert plan["total"]["steps"] == 2
    assert any("full sequences are assumed" in note for note in plan["notes"])
    assert any("num_warmup_steps is 2, but the budget makes 2" in note for note in plan["notes"])


def test_a_budget_of_nothing_takes_nothing():
    plan = make_plan(given_for("bert", budget={"unit": "steps", "amount": 0}, num_warmup_steps=0))
    assert plan["total"] == dict.fromkeys(plan["total"], 0)


def test_a_params_file_without_a_section_is_refused(tmp_path):
    (tmp_path / "params.yaml").write_text("pretraining: {}\n")
    with pytest.raises(SettingsError, match="section 'tokenizer' is missing"):
        read_given(tmp_path / "params.yaml", A100, {})
