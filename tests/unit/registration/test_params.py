import pytest

from stages.core.errors import SettingsError
from stages.core.settings import load_section, parse_section
from stages.registration.params import RegistrationParams

GOOD = {"encoder_name": "cloze-encoder", "task_prefix": "cloze-", "alias": "candidate"}


def test_params_yaml_holds_a_valid_section() -> None:
    assert load_section(RegistrationParams, "registration").alias == "candidate"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alias": "v2"}, "registration.alias: 'v2' is reserved by MLflow"),
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
