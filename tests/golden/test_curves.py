"""The first twenty losses of every objective, kept: a refactoring must not change them.

After a change that is meant to change them: `python -m tests.golden.curves` writes them anew, and
the commit says why.
"""

import json

import pytest

from tests.conformance.batches import OBJECTIVES
from tests.golden.curves import FILE, first_losses


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_first_losses_are_the_kept_ones(name):
    kept = json.loads(FILE.read_text())[name]
    assert first_losses(name) == pytest.approx(kept, rel=2e-4)
    assert kept[-1] < kept[0]
