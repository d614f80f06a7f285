"""Settings of the registration stage: names in the model registry."""

import re

from pydantic import Field, field_validator

from stages.core.settings import Section

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class RegistrationParams(Section):
    """The `registration` section of params.yaml."""

    encoder_name: str = Field(pattern=_NAME, max_length=200)
    """Registered name of the encoder."""
    task_prefix: str = Field(pattern=_NAME, max_length=100)
    """What stands before the task's name, in lower case, in a task model's registered name."""
    alias: str = Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=100)
    """Alias that is moved to the registered versions."""

    @field_validator("alias")
    @classmethod
    def _is_free(cls, alias: str) -> str:
        if alias == "latest" or re.fullmatch(r"v\d+", alias):
            raise ValueError(f"{alias!r} is reserved by MLflow; choose a word such as candidate")
        return alias
