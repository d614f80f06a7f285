"""The budget: its units, its schedule to zero, its phases, and that a resumed one goes on."""

import pytest

from stages.core.errors import SettingsError
from stages.pretraining.budget import Ledger, Spent
from stages.pretraining.objective import Work
from tests.conformance.batches import ELECTRA, params_of

WORK = Work(sequences=8, tokens=100, squared_lengths=2000, masked=15)
PHASES = [
    {"max_seq_length": 16, "share_of_budget": 0.9, "global_batch_sequences": 8},
    {"max_seq_length": 24, "share_of_budget": 0.1, "global_batch_sequences": 8},
]


def walk(params):
    """(rate, phase, step in phase) of every update until the budget is spent."""
    ledger, seen = Ledger(params, Spent()), []
    while not ledger.is_spent:
        ledger.enter_update()
        step = ledger.spent.steps - ledger.phase_first_step
        seen.append((ledger.learning_rate(), ledger.phase, step))
        ledger.book(WORK, flops=1e6, seconds=0.6, joules=2.0)
    return ledger, seen


@pytest.mark.parametrize(
    ("unit", "amount"),
    [("steps", 100), ("tokens", 10_000), ("flops", 1e8), ("minutes", 1.0)],
)
def test_every_unit_ends_after_the_same_hundred_updates_with_the_same_rates(unit, amount):
    _, expected = walk(params_of("bert", budget={"unit": "steps", "amount": 100}))
    ledger, seen = walk(params_of("bert", budget={"unit": unit, "amount": amount}))
    assert len(seen) == 100
    assert [rate for rate, *_ in seen] == pytest.approx([rate for rate, *_ in expected])
    assert ledger.learning_rate() == pytest.approx(0.0, abs=1e-9)


def test_the_rate_rises_to_its_peak_and_falls_in_a_line():
    params = params_of("bert", budget={"unit": "steps", "amount": 12}, num_warmup_steps=2)
    rates = [rate / params.learning_rate for rate, *_ in walk(params)[1]]
    assert rates == pytest.approx([1 / 3, 2 / 3, *[n / 10 for n in range(10, 0, -1)]])


def test_phases_follow_their_shares_of_the_budget():
    params = params_of("bert", phases=PHASES, budget={"unit": "tokens", "amount": 10_000})
    places = [(phase, step) for _, phase, step in walk(params)[1]]
    assert places == [(0, n) for n in range(90)] + [(1, n) for n in range(10)]


def test_a_restored_ledger_goes_on_where_it_stood():
    params = params_of("bert", phases=PHASES, budget={"unit": "flops", "amount": 1e8})
    _, expected = walk(params)
    ledger = Ledger(params, Spent())
    for _ in range(95):
        ledger.enter_update()
        ledger.book(WORK, flops=1e6, seconds=0.6, joules=2.0)
    again = Ledger(params, Spent())
    again.restore(ledger.state())
    again.enter_update()
    assert (again.learning_rate(), again.phase) == pytest.approx(expected[95][:2])
    assert again.spent == ledger.spent


def test_a_budget_of_nothing_is_spent_at_once():
    params = params_of("bert", budget={"unit": "steps", "amount": 0}, num_warmup_steps=0)
    assert walk(params)[1] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": {"unit": "steps", "amount": 1.5}}, "expected whole steps"),
        ({"budget": {"unit": "steps", "amount": 2}}, "less than the budget"),
        ({"budget": {"unit": "hours", "amount": 2}}, "unit"),
        ({"phases": [PHASES[0]]}, "share_of_budget sum to 0.9, expected 1"),
        ({"electra": ELECTRA}, "electra is given, but objective is 'bert'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        params_of("bert", **changes)


def test_electra_asks_for_its_block():
    with pytest.raises(SettingsError, match="objective 'electra' needs the block electra"):
        params_of("electra", electra=None)
    with pytest.raises(SettingsError, match="generator_hidden_fraction"):
        params_of("electra", electra={**ELECTRA, "generator_hidden_fraction": 2.0})
