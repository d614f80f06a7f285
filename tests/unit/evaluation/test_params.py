import pytest

from stages.core.errors import SettingsError
from stages.core.settings import parse_section
from stages.evaluation.params import EvaluationParams

VALUES = {"macro_score_leaves_out": ["WNLI"], "clear_difference_deviations": 2.0}


def parse(**changes: object) -> EvaluationParams:
    return parse_section(EvaluationParams, {**VALUES, **changes}, where="evaluation")


def test_the_values_of_params_yaml_are_taken():
    assert parse().macro_score_leaves_out == ("WNLI",)
    assert parse(macro_score_leaves_out=[]).macro_score_leaves_out == ()


def test_a_task_left_out_twice_is_refused():
    with pytest.raises(SettingsError, match=r"lists a task twice: \['WNLI', 'WNLI'\]"):
        parse(macro_score_leaves_out=["WNLI", "WNLI"])


def test_a_difference_of_no_deviations_is_refused():
    with pytest.raises(SettingsError, match=r"evaluation\.clear_difference_deviations is 0\.0"):
        parse(clear_difference_deviations=0.0)
