"""Section `masking` of params.yaml: how pre-training examples are built and masked."""

from typing import Literal

from pydantic import Field, model_validator

from stages.core.settings import Section


class SequenceLength(Section):
    """One sequence length that examples are generated for."""

    max_seq_length: int = Field(ge=8, le=65535)
    """Tokens in a finished sequence, special tokens counted."""
    max_predictions_per_sequence: int | None = Field(ge=1)
    """Most masked positions in one sequence (BERT's 20 at 128 and 77 at 512); null for no cap."""


class SpanSettings(Section):
    """How long spans are; the paper's are 0.2 and 10."""

    geometric_probability: float = Field(gt=0, lt=1)
    """Probability that a span ends behind each of its words."""
    max_words: int = Field(ge=1, le=100)
    """Longest span, in words; the distribution is cut there and renormalised."""


class MaskingParams(Section):
    """Settings of the masking stage."""

    examples: Literal["segment-pairs", "full-sentences", "doc-sentences", "single"]
    """segment-pairs: BERT's, for next sentence prediction; full-sentences: whole sentences across
    documents; doc-sentences: never across; single: text of one document, cut anywhere."""
    masks: Literal["static", "dynamic"]
    """static: drawn once per copy of the data; dynamic: drawn anew each epoch, while training."""
    unit: Literal["token", "whole-word", "span"]
    """What is masked together: a token, all pieces of a word, or a span of whole words."""
    span: SpanSettings | None = None
    """Lengths of spans; for unit span only."""
    lengths: tuple[SequenceLength, ...] = Field(strict=False, min_length=1)
    """The sequence lengths to generate, one set of examples each."""
    duplication_factor: int = Field(ge=1, le=1000)
    """Passes over the documents, each with fresh examples and static masks; BERT's is 10."""
    short_sequence_probability: float = Field(ge=0, le=1)
    """Probability that a document's visit aims at a random shorter length; for segment-pairs and
    single."""
    mlm_probability: float = Field(gt=0, lt=1)
    """Share of a sequence's tokens to predict."""
    mask_token_probability: float = Field(ge=0, le=1)
    """Share of the predicted tokens that are shown as [MASK]."""
    random_token_probability: float = Field(ge=0, le=1)
    """Share of the predicted tokens that are shown as a random word; the rest is shown as it is."""
    budget_rounding: Literal["nearest", "random"]
    """Tokens to mask of n: nearest: BERT's max(1, round(p n)); random: RoBERTa's
    floor(p n + U[0, 1)), which may be 0."""
    seed: int = Field(ge=0)
    """Seed of every draw of this stage."""

    @model_validator(mode="after")
    def _check(self) -> "MaskingParams":
        total = self.mask_token_probability + self.random_token_probability
        if total > 1 + 1e-9:
            raise ValueError(
                f"mask_token_probability + random_token_probability is {total:g}, expected <= 1"
            )
        if (self.unit == "span") != (self.span is not None):
            raise ValueError(
                f"unit is {self.unit!r} and span is {'given' if self.span else 'missing'}: the "
                "block span belongs to unit span, and to no other"
            )
        lengths = [length.max_seq_length for length in self.lengths]
        if len(set(lengths)) != len(lengths):
            raise ValueError(f"lengths lists a max_seq_length twice: {lengths}")
        for length in self.lengths:
            self._check_length(length)
        return self

    def _check_length(self, length: SequenceLength) -> None:
        """Masks that a full sequence of this length could never hold are refused."""
        size, cap = length.max_seq_length, length.max_predictions_per_sequence
        room = size - 2
        budget = self.mlm_probability * size
        if budget < 1:
            raise ValueError(
                f"mlm_probability {self.mlm_probability:g} of {size} tokens is {budget:g}, "
                "expected at least 1 token to predict; raise it or the length"
            )
        if budget > room:
            raise ValueError(
                f"mlm_probability {self.mlm_probability:g} of {size} tokens is {budget:g}, "
                f"expected at most the {room} that are not special"
            )
        if cap is not None and cap > room:
            raise ValueError(
                f"max_predictions_per_sequence is {cap} at max_seq_length {size}, expected at "
                f"most the {room} tokens that are not special"
            )
        if self.span and self.span.max_words > room:
            raise ValueError(
                f"span.max_words is {self.span.max_words}, expected at most the {room} tokens "
                f"that a sequence of {size} has room for"
            )
