"""Section `tokenizer` of params.yaml: where the vocabulary comes from."""

from typing import Literal

from pydantic import Field, model_validator

from stages.core.settings import Checkpoint, Section


class TokenizerParams(Section):
    """Settings of the tokenizer stage; with a checkpoint as start, only `start` counts."""

    start: Literal["scratch"] | Checkpoint
    """scratch: train on the corpus; a checkpoint: take its tokenizer over as it is."""
    kind: Literal["wordpiece", "bpe", "unigram"]
    """wordpiece: BERT's sub-words, `##` before what continues a word; bpe: RoBERTa's, over bytes;
    unigram: SentencePiece's. A checkpoint's tokenizer is of its own kind."""
    vocab_size: int = Field(ge=64, le=4_000_000)
    """Entries to train, special tokens counted, padding not."""
    pad_to_multiple_of: int = Field(ge=1, le=4096)
    """The vocabulary is filled up to a multiple of this with [unused0], [unused1] and so on."""
    lowercase: bool
    """Whether text is lower-cased (uncased); with wordpiece it then loses its accents too."""
    sample_bytes: int = Field(ge=1_000)
    """UTF-8 bytes of training text to train on, in whole documents chosen by their id."""

    @model_validator(mode="after")
    def _check(self) -> "TokenizerParams":
        if self.pad_to_multiple_of > self.vocab_size:
            raise ValueError(
                f"pad_to_multiple_of is {self.pad_to_multiple_of}, expected at most vocab_size "
                f"({self.vocab_size})"
            )
        return self
