"""What a budget buys, phase by phase: the same updates as the ledger's."""

import pytest

from stages.pretraining.amounts import Amounts, spend
from stages.pretraining.budget import Ledger, Spent
from stages.pretraining.objective import Work
from tests.conformance.batches import params_of

PHASES = [
    {"max_seq_length": 16, "share_of_budget": 0.9, "global_batch_sequences": 8},
    {"max_seq_length": 24, "share_of_budget": 0.1, "global_batch_sequences": 8},
]


@pytest.mark.parametrize(
    ("unit", "amount"), [("steps", 97), ("tokens", 9_650), ("flops", 1e8 + 1), ("minutes", 0.97)]
)
def test_a_budget_is_spent_as_the_ledger_spends_it(unit, amount):
    params = params_of("bert", phases=PHASES, budget={"unit": unit, "amount": amount})
    ledger = Ledger(params, Spent())
    seen = [0, 0]
    while not ledger.is_spent:
        ledger.enter_update()
        seen[ledger.phase] += 1
        ledger.book(Work(8, 100), flops=1e6, seconds=0.6, joules=0.0)
    phases = spend(params, [Amounts(1, 8, 100, 1e6, 0.01)] * 2)
    assert [phase.steps for phase in phases] == seen
    total = sum(phases, Amounts())
    assert total.tokens == ledger.spent.tokens
    assert total.flops == pytest.approx(ledger.spent.flops)
    assert total.minutes == pytest.approx(ledger.spent.minutes)
