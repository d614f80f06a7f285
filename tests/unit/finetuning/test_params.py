"""The section `finetuning`: what it refuses, in whose words."""

import pytest

from stages.core.errors import SettingsError
from stages.core.settings import load_section, parse_section
from stages.finetuning.params import FinetuningParams
from tests.unit.finetuning.builders import section


def parsed(**changes) -> FinetuningParams:
    return parse_section(FinetuningParams, section(**changes), where="finetuning")


def test_the_projects_own_settings_are_accepted():
    assert load_section(FinetuningParams, "finetuning").mode == "full"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0}, r"finetuning.protocols.toy.learning_rate.0 is 0.0, expected"),
        ({"learning_rate": [1e-3, 1e-4, 1e-3]}, r"learning_rate lists a value twice"),
        ({"learning_rate": []}, r"learning_rate is \(?\[?\]?\)?.*expected"),
        ({"warmup_fraction": 10.0}, r"warmup_fraction is 10.0, .*did you mean 0.1\?"),
        ({"batch_sequences": 0}, r"batch_sequences.0 is 0"),
        ({"num_epochs": 2.5}, r"num_epochs.0 is 2.5"),
        ({"max_train_examples": 0}, r"max_train_examples is 0"),
        ({"learnig_rate": 1e-4}, r"finetuning.protocols.toy.learnig_rate is not a known parameter"),
        ({"protocol": "best"}, r"tasks.toy.protocol is 'best', expected one of .*: toy"),
        ({"seeds": (1, 2, 1)}, r"seeds lists a seed twice: \[1, 2, 1\]"),
        ({"seeds": ()}, r"finetuning.seeds is \[\]"),
        ({"mode": "thawed"}, r"finetuning.mode is 'thawed', expected"),
        ({"mode": "frozen"}, r"mode is frozen and features None; frozen needs one of last, mean"),
        ({"features": "mean"}, r"mode is full and features mean; .* and full none"),
        ({"early_stop_epochs": 0}, r"early_stop_epochs is 0"),
    ],
)
def test_values_out_of_bounds_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message):
        parsed(**changes)


def test_a_protocols_trainings_are_every_combination_of_what_it_lists():
    toy = parsed(batch_sequences=[8, 16], learning_rate=[1e-3, 1e-4], num_epochs=4).protocols["toy"]
    found = [(one.batch_sequences, one.num_epochs, one.learning_rate) for one in toy.trainings()]
    assert found == [(8, 4, 1e-3), (8, 4, 1e-4), (16, 4, 1e-3), (16, 4, 1e-4)]
