"""Section `evaluation` of params.yaml: what is summed up, and when a difference is called one."""

from pydantic import Field, model_validator

from stages.core.settings import Section


class EvaluationParams(Section):
    """Settings of the evaluation stage."""

    macro_score_leaves_out: tuple[str, ...] = Field(strict=False)
    """Names of tasks that are shown but do not count in the macro score."""
    clear_difference_deviations: float = Field(gt=0, le=10)
    """Standard deviations over the seeds by which two means must differ to be told apart."""

    @model_validator(mode="after")
    def _check(self) -> "EvaluationParams":
        names = self.macro_score_leaves_out
        if len(set(names)) != len(names):
            raise ValueError(f"macro_score_leaves_out lists a task twice: {list(names)}")
        return self
