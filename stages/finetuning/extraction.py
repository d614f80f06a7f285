"""Settings of a task whose answers are extracted from a text."""

from pydantic import Field

from stages.core.settings import Section


class ExtractionSettings(Section):
    """How contexts are cut into windows and answers found in them."""

    stride_tokens: int = Field(ge=1)
    """Context tokens from the beginning of a window to that of the next: BERT's doc_stride."""
    max_question_tokens: int = Field(ge=1)
    """Tokens that a question is cut to."""
    max_answer_tokens: int = Field(ge=1)
    """Most tokens of a predicted answer; a longer one cannot be found."""
    num_best: int = Field(ge=1)
    """Answers that are kept of each question, the best first."""
