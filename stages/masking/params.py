"""Section `masking` of params.yaml: how pre-training examples are built and masked."""

from typing import Literal

from pydantic import Field, model_validator

from stages.core.settings import Section


class SequenceLength(Section):
    """One sequence length that examples are generated for."""

    max_seq_length: int = Field(ge=8, le=65535)
    """Tokens in a finished sequence, special tokens counted."""
    max_predictions_per_sequence: int = Field(ge=1)
    """Most masked positions in one sequence; the paper's 20 at 128 and 77 at 512."""


class MaskingParams(Section):
    """Settings of the masking stage."""

    examples: Literal["segment-pairs"]
    """What an example is: BERT's segment pairs for next sentence prediction."""
    masks: Literal["static"]
    """static: masks are drawn once per copy of the data."""
    lengths: tuple[SequenceLength, ...] = Field(strict=False, min_length=1)
    """The sequence lengths to generate, one set of examples each."""
    duplication_factor: int = Field(ge=1, le=1000)
    """Passes over the documents, each with fresh pairs and masks; the paper's is 10."""
    short_sequence_probability: float = Field(ge=0, le=1)
    """Probability that a document's visit aims at a random shorter length."""
    mlm_probability: float = Field(gt=0, lt=1)
    """Share of a sequence's tokens to predict."""
    mask_token_probability: float = Field(ge=0, le=1)
    """Share of the predicted tokens that are shown as [MASK]."""
    random_token_probability: float = Field(ge=0, le=1)
    """Share of the predicted tokens that are shown as a random word; the rest is shown as it is."""
    whole_word_mask: bool
    """Whether all pieces of a word are masked together."""
    seed: int = Field(ge=0)
    """Seed of every draw of this stage."""

    @model_validator(mode="after")
    def _check(self) -> "MaskingParams":
        total = self.mask_token_probability + self.random_token_probability
        if total > 1 + 1e-9:
            raise ValueError(
                f"mask_token_probability + random_token_probability is {total:g}, expected <= 1"
            )
        lengths = [length.max_seq_length for length in self.lengths]
        if len(set(lengths)) != len(lengths):
            raise ValueError(f"lengths lists a max_seq_length twice: {lengths}")
        return self
