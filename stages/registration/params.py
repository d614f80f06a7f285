"""Settings of the registration stage: names in the model registry, and when a champion falls."""

import re

from pydantic import Field, field_validator

from stages.core.settings import Section

CHAMPION = "champion"
"""Alias of the versions that are served."""
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class PromotionRule(Section):
    """When the promotion gate makes the candidate the champion. Scores are in -1..1."""

    min_macro_gain: float = Field(ge=0, lt=1)
    """By more than this the candidate's macro score must be above the champion's."""
    min_probability: float = Field(ge=0.5, le=1)
    """Share of the paired bootstrap's resamples in which it must be so."""
    max_task_loss: float = Field(ge=0, le=1)
    """A task that counts in the macro score may be worse by at most this."""


class RegistrationParams(Section):
    """The `registration` section of params.yaml."""

    encoder_name: str = Field(pattern=_NAME, max_length=200)
    """Registered name of the encoder."""
    task_prefix: str = Field(pattern=_NAME, max_length=100)
    """What stands before the task's name, in lower case, in a task model's registered name."""
    alias: str = Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=100)
    """Alias that is moved to the registered versions."""
    promote_when: PromotionRule
    """The promotion gate's rule; no other stage reads it."""

    @field_validator("alias")
    @classmethod
    def _is_free(cls, alias: str) -> str:
        if alias == "latest" or re.fullmatch(r"v\d+", alias):
            raise ValueError(f"{alias!r} is reserved by MLflow; choose a word such as candidate")
        if alias == CHAMPION:
            raise ValueError(f"{alias!r} is moved by the promotion gate alone; take candidate")
        return alias
