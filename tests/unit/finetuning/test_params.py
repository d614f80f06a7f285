"""The section `finetuning`: what it refuses, in whose words."""

import pytest

from stages.core.errors import SettingsError
from stages.core.settings import load_section, parse_section
from stages.finetuning.params import FinetuningParams
from tests.unit.finetuning.builders import SETTINGS


def section(seeds=(1,), mode="full", **changes):
    values = {"mode": mode, "seeds": list(seeds), "tasks": {"toy": SETTINGS | changes}}
    return parse_section(FinetuningParams, values, where="finetuning")


def test_the_projects_own_settings_are_accepted():
    assert load_section(FinetuningParams, "finetuning").mode == "full"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0}, r"finetuning.tasks.toy.learning_rate is 0.0, expected"),
        ({"warmup_fraction": 10.0}, r"warmup_fraction is 10.0, .*did you mean 0.1\?"),
        ({"batch_sequences": 0}, r"batch_sequences is 0"),
        ({"num_epochs": 2.5}, r"num_epochs is 2.5"),
        ({"max_train_examples": 0}, r"max_train_examples is 0"),
        ({"learnig_rate": 1e-4}, r"finetuning.tasks.toy.learnig_rate is not a known parameter"),
        ({"seeds": (1, 2, 1)}, r"seeds lists a seed twice: \[1, 2, 1\]"),
        ({"seeds": ()}, r"finetuning.seeds is \[\]"),
        ({"mode": "frozen"}, r"finetuning.mode is 'frozen', expected"),
    ],
)
def test_values_out_of_bounds_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        section(**changes)
