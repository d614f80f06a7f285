import pytest

from stages.core.errors import SettingsError
from stages.core.settings import load_section, parse_section
from stages.registration.params import RegistrationParams

RULE = {"min_macro_gain": 0.0, "min_probability": 0.95, "max_task_loss": 0.02}
GOOD = {
    "encoder_name": "cloze-encoder",
    "task_prefix": "cloze-",
    "alias": "candidate",
    "promote_when": RULE,
}


def test_params_yaml_holds_a_valid_section() -> None:
    assert load_section(RegistrationParams, "registration").alias == "candidate"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alias": "v2"}, "registration.alias: 'v2' is reserved by MLflow"),
        ({"alias": "champion"}, "'champion' is moved by the promotion gate alone"),
        ({"alias": "latest"}, "'latest' is reserved by MLflow; choose a word"),
        ({"encoder_name": "cloze/encoder"}, "registration.encoder_name is 'cloze/encoder'"),
        ({"allias": "x"}, "registration.allias is not a known parameter; did you mean 'alias'"),
    ],
)
def test_a_name_that_the_registry_refuses_is_refused_here(
    values: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_section(RegistrationParams, GOOD | values, where="registration")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_probability": 95.0}, "promote_when.min_probability is 95.0"),
        ({"min_probability": 0.4}, "promote_when.min_probability is 0.4"),
        ({"max_task_loss": -0.1}, "promote_when.max_task_loss is -0.1"),
        ({"min_macro_gain": 2.0}, "promote_when.min_macro_gain is 2.0"),
        ({"min_gain": 0.0}, "min_gain is not a known parameter; did you mean 'min_macro_gain'"),
    ],
)
def test_a_rule_outside_its_bounds_is_refused(values: dict[str, float], message: str) -> None:
    rule = {"promote_when": RULE | values}
    with pytest.raises(SettingsError) as caught:
        parse_section(RegistrationParams, GOOD | rule, where="registration")
    assert message in str(caught.value)
